// Facade of reclaim/: the scan, the reclaimer's thread, write-out.
#pragma once

#include "reclaim/reclaimer.h"
#include "reclaim/scanner.h"
