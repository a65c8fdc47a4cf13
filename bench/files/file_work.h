// The measured loops on mapped files: the same compiled code over the engine's memory and over the
// kernel's, with the same seeds.
//
// Content: that of transfer/disk_file.h; every load of `scan`, `random`, `hot` and `stall` is
// checked against its page's tag. `sort` has numbers of its own, which are checked afterwards:
// their order, and their sum.
#pragma once

#include <functional>
#include <memory>

#include "files/file_memory.h"
#include "worker_process.h"

namespace holdfast::bench {

using MakeFileMemory = std::unique_ptr<FileMemory> (*)(const FileScene& scene);

// A worker whose rounds are the scene's loop.
[[nodiscard]] std::unique_ptr<Worker> make_file_work(const FileScene& scene, MakeFileMemory make);
// The scan of a file without mapping it: O_DIRECT reads of 1 MiB into one buffer, one at a time,
// and the same look at every word. What one thread can hope for.
[[nodiscard]] std::unique_ptr<Worker> make_direct_scan(const FileScene& scene);

}  // namespace holdfast::bench
