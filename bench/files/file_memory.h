// A file as memory: by an engine, or by the kernel's mmap.
//
// Who owns what: a FileMemory owns its mapping (and its engine), nothing of the file. Made in the
// worker's process, before or after it has been put in a cgroup; maps only when told.
#pragma once

#include <holdfast/file.h>

#include <cstddef>
#include <memory>
#include <string>

#include "files/file_scene.h"
#include "trouble.h"

namespace holdfast::bench {

class FileMemory {
 public:
  virtual ~FileMemory() = default;
  // Maps the whole file shared, nothing of it in memory, after what was mapped before has been
  // written and unmapped.
  [[nodiscard]] virtual Result<std::byte*> map_cold() = 0;
  // What a coroutine can ask for pages of; null: they come by faults alone.
  [[nodiscard]] virtual const FileMapping* mapping() const { return nullptr; }
  // What has been stored is durable.
  [[nodiscard]] virtual Result<void> sync() = 0;
  [[nodiscard]] virtual std::string report() = 0;
};

// The advice of each (random) is given where the scene's loads are random.
[[nodiscard]] std::unique_ptr<FileMemory> make_engine_file(const FileScene& scene);
[[nodiscard]] std::unique_ptr<FileMemory> make_kernel_file(const FileScene& scene);

// Nothing of the file is in the kernel's cache afterwards, if nobody has it mapped.
[[nodiscard]] Result<void> drop_from_cache(const std::string& path);

}  // namespace holdfast::bench
