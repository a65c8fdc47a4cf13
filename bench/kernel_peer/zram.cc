#include "kernel_peer/zram.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdio>
#include <sstream>
#include <thread>

#include "kernel_peer/text_file.h"

namespace holdfast::bench {
namespace {

const std::string kControl = "/sys/class/zram-control/";

}  // namespace

Result<std::unique_ptr<ZramDevice>> ZramDevice::create(std::uint64_t bytes) {
  // Reading hot_add makes a device and gives its number.
  auto number = read_text(kControl + "hot_add");
  if (!number) {
    return skip("no zram device can be had (is the module loaded, are we root?): " +
                number.error().why);
  }
  std::unique_ptr<ZramDevice> device(new ZramDevice(*number));
  if (auto ready = device->set_up(bytes); !ready) return std::unexpected(ready.error());
  return device;
}

Result<void> ZramDevice::set_up(std::uint64_t bytes) {
  if (auto set = write_text(attribute("comp_algorithm"), "lz4"); !set) {
    return skip("this kernel's zram has no lz4: " + set.error().why);
  }
  if (auto set = write_text(attribute("disksize"), std::to_string(bytes)); !set) return set;
  for (int wait = 0; wait < 100; ++wait) {  // the node comes from devtmpfs at once, from udev soon
    if (access(path().c_str(), R_OK | W_OK) == 0) return {};
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  return system_trouble(path());
}

ZramDevice::~ZramDevice() {
  // Somebody (udev, blkid) may look at the device for a moment: EBUSY then, and a second try.
  Result<void> removed;
  for (int tries = 0; tries < 50; ++tries) {
    removed = write_text(attribute("reset"), "1");
    if (removed) removed = write_text(kControl + "hot_remove", number_);
    if (removed) return;
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  std::fprintf(stderr, "holdfast-bench: zram%s is left behind: %s\n", number_.c_str(),
               removed.error().why.c_str());
}

// Columns of mm_stat: original, compressed, taken, limit, most taken, ...
std::uint64_t ZramDevice::memory_statistic(unsigned column) const {
  std::istringstream words(read_text(attribute("mm_stat")).value_or(""));
  std::uint64_t value = 0;
  for (unsigned i = 0; i <= column; ++i) {
    if (!(words >> value)) return 0;
  }
  return value;
}

}  // namespace holdfast::bench
