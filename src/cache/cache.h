// Facade of cache/: the swap cache, the pages between unmapped and freed.
#pragma once

#include "cache/swap_cache.h"
