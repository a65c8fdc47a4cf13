// A simulated store of objects: it answers in an order and after a time of the seed's choosing, and
// fails as a cluster does: refusals, a full pool, answers that come too late of writes that may
// have happened all the same, bits that come back wrong, and a lock that somebody else has taken.
#pragma once

#include <atomic>
#include <unordered_map>
#include <vector>

#include "sys/machine.h"
#include "sys/sim/sim_core.h"

namespace holdfast::sys {

class SimObjectStore final : public ObjectStore {
 public:
  SimObjectStore(SimCore& core, const ObjectStoreOptions& options);
  ~SimObjectStore() override;
  SimObjectStore(const SimObjectStore&) = delete;
  SimObjectStore& operator=(const SimObjectStore&) = delete;

  void submit(ObjectRequest& request) noexcept override;
  [[nodiscard]] bool owns_session() const noexcept override { return !lost_; }
  [[nodiscard]] const char* description() const noexcept override { return "simulated"; }

 private:
  struct Flight {
    ObjectRequest* request = nullptr;
    std::uint64_t due_ns = 0;
    bool late = false;  // it is answered when the caller's patience has ended
  };

  void run_device() noexcept;
  [[nodiscard]] bool take_due(Flight& flight, std::uint64_t& next_due) noexcept;
  [[nodiscard]] int perform(const Flight& flight) noexcept;
  [[nodiscard]] int read(const ObjectRequest& request) noexcept;
  [[nodiscard]] int write(const ObjectRequest& request, bool late) noexcept;
  [[nodiscard]] int remove(const ObjectRequest& request) noexcept;

  SimCore& core_;
  const std::uint64_t wait_ns_;
  std::unordered_map<std::uint64_t, std::vector<std::byte>> objects_;
  std::vector<Flight> flights_;
  std::atomic<std::uint32_t> work_{0};  // bumped when the device has something to look at
  bool lost_ = false;
  bool stop_ = false;
  SimThreadState* device_ = nullptr;
};

}  // namespace holdfast::sys
