// A swap file in memory, with a disk's ways of failing: errors per extent, no space, sectors that
// come back wrong without an error, and time: while an extent is in flight other threads run.
#pragma once

#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "sys/machine.h"
#include "sys/sim/sim_core.h"

namespace holdfast::sys {

class SimFile final : public SwapFile {
 public:
  explicit SimFile(SimCore& core);
  ~SimFile() override;

  void read(std::span<IoRequest> requests) noexcept override;
  void write(std::span<IoRequest> requests) noexcept override;
  int punch(std::uint64_t offset, std::uint64_t bytes) noexcept override;
  [[nodiscard]] std::uint32_t block_bytes() const noexcept override {
    return core_.options.block_bytes;
  }
  [[nodiscard]] const char* description() const noexcept override { return "simulated"; }

 private:
  enum class Direction : std::uint8_t { read, write };
  struct Flight {
    std::uint64_t begin, end;
    Direction direction;
  };

  void transfer(std::span<IoRequest> requests, Direction direction) noexcept;
  void take_off(std::span<IoRequest> requests, Direction direction) noexcept;
  void land(const IoRequest& request) noexcept;
  void wait_in_flight() noexcept;
  void run_one(IoRequest& request, Direction direction) noexcept;
  void read_one(IoRequest& request) noexcept;
  void write_one(IoRequest& request) noexcept;
  void write_sectors(std::uint64_t offset, const std::byte* data, std::uint64_t bytes) noexcept;
  void tear(const IoRequest& request) noexcept;
  [[nodiscard]] bool has_room(const IoRequest& request) const noexcept;

  SimCore& core_;
  std::unordered_map<std::uint64_t, std::byte*> blocks_;  // 4 KiB each, by offset >> kPageShift
  std::unordered_set<std::uint64_t> bad_sectors_;         // by offset / 512
  std::vector<Flight> flights_;
};

}  // namespace holdfast::sys
