// Facade of sys/: the OS seam.
#pragma once

#include "sys/machine.h"
#include "sys/probe.h"
#include "sys/streams.h"
