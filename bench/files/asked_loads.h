// Random loads by coroutines that ask for their pages instead of faulting.
#pragma once

#include <holdfast/file.h>

#include <cstdint>

#include "trouble.h"
#include "workload.h"

namespace holdfast::bench {

// Loads one word of `ops` random pages of the `pages` of a cold file of transfer/disk_file.h, by so
// many coroutines. Its `seconds` are the caller's to set.
[[nodiscard]] Result<Interval> load_by_asking(const FileMapping& mapping, unsigned coroutines,
                                              std::uint64_t ops, std::uint64_t pages,
                                              Random& random);

}  // namespace holdfast::bench
