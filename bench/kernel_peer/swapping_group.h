// A memory cgroup with swap space of its own: what confines the kernel's side of a comparison, and
// where its pages go.
//
// Who owns what: owns cgroup, zram device or swap file, and the swap area on it, and takes them
// down in the order in which that works. Its processes must have ended before the destructor.
//
//     auto group = SwappingGroup::create({.medium = Medium::zram, .limit_bytes = 512 << 20, ...});
//     (*group)->cgroup().add(process);
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "kernel_peer/cgroup.h"
#include "kernel_peer/swap_area.h"
#include "kernel_peer/swap_file.h"
#include "kernel_peer/zram.h"
#include "scene.h"

namespace holdfast::bench {

class SwappingGroup {
 public:
  struct Settings {
    Medium medium = Medium::zram;
    std::uint64_t limit_bytes = 0;  // of the cgroup
    std::uint64_t swap_bytes = 0;
    std::string directory = "/var/tmp";  // of the swap file
  };
  // What the cgroup has to hold so that `resident_bytes` of a program's `memory_bytes` are in
  // memory: it pays for page tables and for what else the process is, too.
  [[nodiscard]] static std::uint64_t limit_for(std::uint64_t resident_bytes,
                                               std::uint64_t memory_bytes) {
    return resident_bytes + memory_bytes / 512 + (2 << 20);
  }
  // Skipped where the machine forbids it.
  [[nodiscard]] static Result<std::unique_ptr<SwappingGroup>> create(const Settings& settings);

  [[nodiscard]] MemoryCgroup& cgroup() { return *cgroup_; }
  // Null: it swaps to a file.
  [[nodiscard]] const ZramDevice* zram() const { return zram_.get(); }
  // What was set up, and what it takes now.
  [[nodiscard]] std::string description() const;

 private:
  SwappingGroup() = default;
  Result<void> enable_swap(const Settings& settings);

  std::unique_ptr<MemoryCgroup> cgroup_;  // members go in the opposite order
  std::unique_ptr<ZramDevice> zram_;
  std::unique_ptr<SwapFile> file_;
  std::unique_ptr<SwapArea> area_;
};

}  // namespace holdfast::bench
