// A zram device of our own, with lz4: compressed RAM as the kernel does it.
//
// A new device is made (hot_add), so that one that is in use is never touched; the destructor
// resets and removes it. Skipped where there is no zram, no lz4 in it, or no right to it.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "trouble.h"

namespace holdfast::bench {

class ZramDevice {
 public:
  [[nodiscard]] static Result<std::unique_ptr<ZramDevice>> create(std::uint64_t bytes);
  ~ZramDevice();
  ZramDevice(const ZramDevice&) = delete;
  ZramDevice& operator=(const ZramDevice&) = delete;

  [[nodiscard]] std::string path() const { return "/dev/zram" + number_; }
  // Bytes of memory that the device takes for what is stored in it now; 0 if it does not say.
  [[nodiscard]] std::uint64_t memory_bytes() const { return memory_statistic(2); }
  // The most that it has taken.
  [[nodiscard]] std::uint64_t peak_bytes() const { return memory_statistic(4); }

 private:
  explicit ZramDevice(std::string number) : number_(std::move(number)) {}
  [[nodiscard]] std::string attribute(const std::string& name) const {
    return "/sys/block/zram" + number_ + "/" + name;
  }
  Result<void> set_up(std::uint64_t bytes);
  [[nodiscard]] std::uint64_t memory_statistic(unsigned column) const;

  std::string number_;
};

}  // namespace holdfast::bench
