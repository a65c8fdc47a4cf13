// Both sides of far/restore: an image of a pool on "another machine", a process with its own state.
#pragma once

#include <holdfast/holdfast.h>

#include <cstdint>
#include <memory>
#include <string>

#include "worker_process.h"

namespace holdfast::bench {

struct RestoreScene {
  std::string image;               // its name: rados:...
  std::uint64_t memory_bytes = 0;  // that it holds
  std::uint64_t budget_bytes = 0;  // of whoever restores it
  std::string copy = {};           // peer: the file to which it is copied first
};

// prepare() saves memory as the image, a round removes it.
[[nodiscard]] std::unique_ptr<Worker> make_image_saver(const RestoreScene& scene);
// A round: a new engine restores the image and loads from 16 pages at random; milliseconds from the
// beginning of the restoring. With a copy that is made first, and restored.
[[nodiscard]] std::unique_ptr<Worker> make_restorer(const RestoreScene& scene);

}  // namespace holdfast::bench
