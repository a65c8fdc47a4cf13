// Second facade of sys/: the simulated machine. For tests and test support only; the engine and
// the modules below it know nothing but sys/sys.h.
#pragma once

#include "sys/sim/sim_machine.h"
