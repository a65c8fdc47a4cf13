// fio as a peer: the same transfers by its io_uring engine on plain memory.
#pragma once

#include <cstdint>
#include <string>

#include "worker_process.h"

namespace holdfast::bench {

struct FioJob {
  std::string path;
  std::uint64_t file_bytes = 0;
  bool writes = false;
  unsigned depth = 32;
  unsigned seconds = 2;
};

// A worker whose rounds are runs of fio; a round's figure is thousands of transfers a second.
// Skipped where there is no fio.
[[nodiscard]] std::unique_ptr<Worker> make_fio(const FioJob& job);

}  // namespace holdfast::bench
