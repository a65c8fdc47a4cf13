// Facade of object/: where the pages of a region come from.
#pragma once

#include "object/clean_hashes.h"
#include "object/page_source.h"
