// Facade of base/: errors, checks, units and strong ids, the page hash, intrusive lists.
#pragma once

#include "base/check.h"
#include "base/counted.h"
#include "base/hash.h"
#include "base/index_list.h"
#include "base/same_filled.h"
#include "base/text.h"
#include "base/try.h"
#include "base/units.h"
#include "holdfast/error.h"
