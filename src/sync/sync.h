// Facade of sync/: contexts, parking, ranked locks, lock-free stacks and lease pools, defer.
#pragma once

#include "sync/context.h"
#include "sync/defer.h"
#include "sync/gate.h"
#include "sync/index_stack.h"
#include "sync/interleave.h"
#include "sync/lease_pool.h"
#include "sync/mutex.h"
#include "sync/parking.h"
#include "sync/thread_annotations.h"
#include "sync/turn.h"
