#include "files/file_memory.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <holdfast/holdfast.h>
#include <sys/mman.h>
#include <unistd.h>

#include "kernel_peer/text_file.h"
#include "paging/engine_side.h"

namespace holdfast::bench {
namespace {

class EngineFile final : public FileMemory {
 public:
  explicit EngineFile(const FileScene& scene) : scene_(scene) {}

  Result<std::byte*> map_cold() override {
    if (engine_ == nullptr) {
      auto engine = make_engine(Medium::zram, scene_.resident, "/var/tmp");
      if (!engine) return std::unexpected(engine.error());
      engine_ = std::move(*engine);
    }
    if (mapping_) {
      if (auto gone = mapping_.unmap(); !gone) return engine_trouble(gone.error());
    }
    if (auto cold = drop_from_cache(scene_.path); !cold) return std::unexpected(cold.error());
    auto mapping = map_file(*engine_, scene_.path);
    if (!mapping) return engine_trouble(mapping.error());
    mapping_ = std::move(*mapping);
    if (scene_.is_random()) {
      auto advised = mapping_.advise(0, mapping_.size(), Advice::random);
      if (!advised) return engine_trouble(advised.error());
    }
    return mapping_.data();
  }

  const FileMapping* mapping() const override { return &mapping_; }

  Result<void> sync() override {
    auto durable = mapping_.sync();
    if (!durable) return engine_trouble(durable.error());
    return {};
  }

  std::string report() override {
    return fmt::format("ours: {}\n{}", engine_->description(), engine_->stats().to_string());
  }

 private:
  const FileScene scene_;
  std::unique_ptr<Engine> engine_;
  FileMapping mapping_;  // before the engine in destruction
};

class KernelFile final : public FileMemory {
 public:
  explicit KernelFile(const FileScene& scene) : scene_(scene) {}
  ~KernelFile() override { unmap(); }

  Result<std::byte*> map_cold() override {
    unmap();
    if (auto cold = drop_from_cache(scene_.path); !cold) return std::unexpected(cold.error());
    const int fd = open(scene_.path.c_str(), O_RDWR | O_CLOEXEC);
    if (fd < 0) return system_trouble("open " + scene_.path);
    void* const memory = mmap(nullptr, scene_.bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    if (memory == MAP_FAILED) return system_trouble("mmap " + scene_.path);
    memory_ = static_cast<std::byte*>(memory);
    if (scene_.is_random() && madvise(memory, scene_.bytes, MADV_RANDOM) != 0) {
      return system_trouble("MADV_RANDOM");
    }
    return memory_;
  }

  Result<void> sync() override {
    if (msync(memory_, scene_.bytes, MS_SYNC) != 0) return system_trouble("msync");
    return {};
  }

  std::string report() override {
    return fmt::format("kernel: {} MiB of the file in memory", status_kilobytes("RssFile") >> 10);
  }

 private:
  void unmap() {
    if (memory_ != nullptr) munmap(memory_, scene_.bytes);
    memory_ = nullptr;
  }

  const FileScene scene_;
  std::byte* memory_ = nullptr;
};

}  // namespace

std::unique_ptr<FileMemory> make_engine_file(const FileScene& scene) {
  return std::make_unique<EngineFile>(scene);
}

std::unique_ptr<FileMemory> make_kernel_file(const FileScene& scene) {
  return std::make_unique<KernelFile>(scene);
}

Result<void> drop_from_cache(const std::string& path) {
  const int fd = open(path.c_str(), O_RDWR | O_CLOEXEC);
  if (fd < 0) return system_trouble("open " + path);
  // Dirty pages are not dropped.
  const bool dropped = fsync(fd) == 0 && posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED) == 0;
  close(fd);
  if (!dropped) return system_trouble("drop the cache of " + path);
  return {};
}

}  // namespace holdfast::bench
