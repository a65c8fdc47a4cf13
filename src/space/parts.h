// The parts that the address space works with, wired by engine/. References outlive the space.
#pragma once

#include <cstdint>

#include "base/base.h"
#include "cache/cache.h"
#include "lru/lru.h"
#include "object/object.h"
#include "page/page.h"
#include "pmap/pmap.h"
#include "space/counters.h"
#include "space/far_rooms.h"
#include "space/region_table.h"
#include "space/staging.h"
#include "swap/swap.h"
#include "sys/sys.h"

namespace holdfast::space {

// Makes room when the pool has none: implemented by reclaim/, which is above. Called with no lock,
// entry, reservation or staging buffer held; may wait. Task context.
class MemoryRelief {
 public:
  // Reclaims until about `frames` are free for that priority. False: there are none, and nothing
  // can leave any more.
  [[nodiscard]] virtual bool relieve(std::uint32_t frames, page::Priority priority) noexcept = 0;

 protected:
  ~MemoryRelief() = default;
};

// What to do about an error inside a plain load or store.
struct ErrorSink {
  // True: the cause has been mended, run the instruction again. Async-signal-safe.
  bool (*report)(const Error& error, Address address, void* context) noexcept = nullptr;
  void* context = nullptr;
};

struct Parts {
  sys::Machine& machine;
  page::FramePool& pool;
  lru::Lru& lru;
  swap::Swap& swap;
  Counters& counters;
  RegionTable& regions;
  StagingPool& staging;
  object::CleanHashes& clean;
  FarRooms* far_rooms = nullptr;  // null: nothing is beyond this machine
  std::uint32_t window_pages = 512;

  // Set once by engine/ before the first region is mapped: they need the space to exist first.
  pmap::Pmap* pmap = nullptr;
  cache::SwapCache* cache = nullptr;
  MemoryRelief* relief = nullptr;
  page::PressureSink* reclaimer = nullptr;  // woken when there is something to free; may be null
  ErrorSink errors = {};
};

}  // namespace holdfast::space
