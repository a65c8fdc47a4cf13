// Facade of object/: where the pages of a region come from.
#pragma once

#include "object/page_source.h"
