// What a random program is like: machine, engine, number of threads, mix of operations; all drawn
// from one seed.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "holdfast/holdfast.h"
#include "sys/sim.h"

namespace holdfast::tests {

enum class Operation : std::uint8_t {
  load,
  store,
  fill,
  sweep,
  map,
  unmap,
  resize,
  pin,
  unpin,
  prefetch,
  advise,
  allocate,
  free_block,
  reclaim,
  stats,
  clone,
  snapshot,
  read_copy,
  drop_copy,
  arm,
};
inline constexpr std::size_t kOperations = 20;
static_assert(static_cast<std::size_t>(Operation::arm) + 1 == kOperations);

// One failure at an exact place, besides those by chance.
struct ExactFailure {
  sys::FailureKind kind = sys::FailureKind::reserve;
  std::uint64_t n = 0;  // 0: none
  sys::Repeat repeat = sys::Repeat::once;
};

struct ProgramShape {
  std::uint64_t seed = 0;
  sys::SimOptions machine;
  Options engine;
  ExactFailure exact;
  std::uint32_t threads = 1;       // 1 to 3
  std::uint32_t phases = 1;        // between them everything is checked
  std::uint32_t operations = 100;  // of all threads and phases together
  std::uint64_t budget_pages = 0;
  std::uint64_t region_pages_max = 0;
  std::uint64_t held_pages_max = 0;  // in pins and blocks together
  std::array<std::uint32_t, kOperations> weights{};
  bool may_run_out = false;  // the tiers are bounded: being out of memory is no bug

  // Machine, engine and mix from the seed, failures included.
  [[nodiscard]] static ProgramShape draw(std::uint64_t seed);
  // The same without failures by chance and short: for failures at exact places.
  [[nodiscard]] static ProgramShape draw_sound(std::uint64_t seed);
};

}  // namespace holdfast::tests
