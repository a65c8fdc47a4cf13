// Facade of sys/: the OS seam.
#pragma once

#include "sys/machine.h"
