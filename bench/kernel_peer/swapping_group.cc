#include "kernel_peer/swapping_group.h"

#include <fmt/format.h>

#include "kernel_peer/text_file.h"

namespace holdfast::bench {

Result<std::unique_ptr<SwappingGroup>> SwappingGroup::create(const Settings& settings) {
  std::unique_ptr<SwappingGroup> group(new SwappingGroup);
  auto cgroup = MemoryCgroup::create(settings.limit_bytes);
  if (!cgroup) return std::unexpected(cgroup.error());
  group->cgroup_ = std::move(*cgroup);
  if (auto swapping = group->enable_swap(settings); !swapping) {
    return std::unexpected(swapping.error());
  }
  return group;
}

Result<void> SwappingGroup::enable_swap(const Settings& settings) {
  std::string path;
  if (settings.medium == Medium::zram) {
    auto device = ZramDevice::create(settings.swap_bytes);
    if (!device) return std::unexpected(device.error());
    zram_ = std::move(*device);
    path = zram_->path();
  } else {
    auto file = SwapFile::create(settings.directory, settings.swap_bytes);
    if (!file) return std::unexpected(file.error());
    file_ = std::move(*file);
    path = file_->path();
  }
  auto area = SwapArea::enable(path, settings.swap_bytes);
  if (!area) return std::unexpected(area.error());
  area_ = std::move(*area);
  return {};
}

std::string SwappingGroup::description() const {
  const auto cluster = read_text("/proc/sys/vm/page-cluster");
  const auto zswap = read_text("/sys/module/zswap/parameters/enabled");
  std::string text = fmt::format("kernel: {}; swap on {}; page-cluster {}, zswap {}",
                                 cgroup_->description(), zram_ ? zram_->path() : file_->path(),
                                 cluster.value_or("unknown"), zswap.value_or("absent"));
  if (zram_) {
    text += fmt::format("; the device takes {} MiB beside the cgroup", zram_->memory_bytes() >> 20);
  }
  return text;
}

}  // namespace holdfast::bench
