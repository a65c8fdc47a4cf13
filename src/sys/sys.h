// Facade of sys/: the OS seam.
#pragma once

#include "sys/machine.h"
#include "sys/probe.h"
