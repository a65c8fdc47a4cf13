// Facade of page/: descriptor, states, the frame pool, PageRef.
#pragma once

#include "page/descriptor.h"
#include "page/frame_pool.h"
#include "page/holders.h"
#include "page/page_ref.h"
#include "page/page_state.h"
#include "page/reservation.h"
