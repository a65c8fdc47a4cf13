// Facade of space/: regions, page tables, faults, pins, eviction.
#pragma once

#include "space/address_space.h"
#include "space/counters.h"
#include "space/eviction.h"
#include "space/far_rooms.h"
#include "space/parts.h"
#include "space/region_table.h"
#include "space/staging.h"
