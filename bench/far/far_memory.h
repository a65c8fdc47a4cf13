// Our sides of far/*: an engine whose one tier is a pool.
#pragma once

#include <holdfast/holdfast.h>

#include <cstdint>
#include <memory>

#include "worker_process.h"
#include "workload.h"

namespace holdfast::bench {

struct FarScene {
  FarPool pool;
  std::uint64_t memory_bytes = 0;  // of the region
  std::uint64_t budget_bytes = 0;
  std::uint64_t ops_per_round = 0;  // readers
  Work work = Work::random_read;
  Advice advice = Advice::normal;
};

// What a writer's round() does.
enum FarWritePart : unsigned {
  kEvict,         // fills a new region, then evicts it; pages a second, the eviction alone
  kBytesPerPage,  // no work: what the pool was given for each page, in all rounds
  kPagesEvicted,  // no work: how many that were
};
[[nodiscard]] std::unique_ptr<Worker> make_far_writer(const FarScene& scene);

// Loads of pages that are in the pool; microseconds for each that was brought in. A page that was
// resident costs next to nothing and does not count.
[[nodiscard]] std::unique_ptr<Worker> make_far_reader(const FarScene& scene);

// The size of an object, and how many are on their way at once, for an engine of such a budget: as
// the engine plans them, for the peers to have the same.
[[nodiscard]] std::uint64_t far_object_bytes(std::uint64_t budget_bytes);
[[nodiscard]] unsigned far_objects_at_once(std::uint64_t budget_bytes);

}  // namespace holdfast::bench
