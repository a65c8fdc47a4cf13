// Everything public, in one include.
#pragma once

#include "holdfast/aio.h"
#include "holdfast/capture.h"
#include "holdfast/context.h"
#include "holdfast/engine.h"
#include "holdfast/error.h"
#include "holdfast/file.h"
#include "holdfast/image.h"
#include "holdfast/memory_resource.h"
#include "holdfast/options.h"
#include "holdfast/pin.h"
#include "holdfast/ready.h"
#include "holdfast/region.h"
#include "holdfast/snapshot.h"
#include "holdfast/stats.h"
