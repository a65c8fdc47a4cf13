// Simulated asynchronous transfers: a device that works on its own, between any two steps of the
// program, on files and streams of the machine.
//
// The device writes straight to the memory that a request names, as a real one does: a page of a
// region that is not there then was taken away under a pin, and aborts the run.
// Requests complete in an order of the seed's choosing, after a time of its choosing.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "sys/machine.h"
#include "sys/sim/sim_core.h"

namespace holdfast::sys {

class SimAsync final : public AsyncIo {
 public:
  explicit SimAsync(SimCore& core);
  ~SimAsync() override;
  SimAsync(const SimAsync&) = delete;
  SimAsync& operator=(const SimAsync&) = delete;

  void submit(std::span<const AsyncRequest> requests) noexcept override;
  void cancel(std::uint64_t id) noexcept override;
  std::uint32_t reap(std::span<AsyncCompletion> out, std::uint64_t timeout_ns,
                     std::uint32_t least) noexcept override;
  void wake() noexcept override;
  [[nodiscard]] const char* description() const noexcept override { return "simulated"; }

  // A stream may have more to give.
  void look_again() noexcept { signal(work_); }

 private:
  struct Flight {
    AsyncRequest request;
    std::uint64_t due_ns = 0;
    bool cancelled = false;
  };

  void run_device() noexcept;
  bool take_due(Flight& flight, std::uint64_t& next_due) noexcept;
  [[nodiscard]] bool can_go(const Flight& flight) const noexcept;
  std::int64_t perform(const Flight& flight) noexcept;
  std::int64_t read(SimDeviceFile& file, const AsyncRequest& request, std::uint64_t most) noexcept;
  std::int64_t write(SimDeviceFile& file, const AsyncRequest& request, std::uint64_t most) noexcept;
  template <class Copy>
  void for_each_piece(const AsyncRequest& request, std::uint64_t bytes, Copy copy) noexcept;
  [[nodiscard]] std::byte* host(const std::byte* data) noexcept;
  void signal(std::atomic<std::uint32_t>& word) noexcept;

  SimCore& core_;
  std::vector<Flight> flights_;
  std::vector<AsyncCompletion> done_;
  std::atomic<std::uint32_t> work_{0};    // bumped when the device has something to look at
  std::atomic<std::uint32_t> events_{0};  // bumped when something is done, or by wake()
  bool woken_ = false;
  bool stop_ = false;
  SimThreadState* device_ = nullptr;
};

}  // namespace holdfast::sys
