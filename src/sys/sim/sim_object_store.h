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
  // A session of its own; `image`: the reading of that one's.
  SimObjectStore(SimCore& core, const ObjectStoreOptions& options, const FarImage* image = nullptr);
  ~SimObjectStore() override;
  SimObjectStore(const SimObjectStore&) = delete;
  SimObjectStore& operator=(const SimObjectStore&) = delete;

  void submit(ObjectRequest& request) noexcept override;
  [[nodiscard]] bool owns_session() const noexcept override { return !lost_; }
  [[nodiscard]] const char* description() const noexcept override { return "simulated"; }
  Expected<void> publish(const FarImage& image) override;

  // The name under which an image is known in all of the simulated store.
  [[nodiscard]] static std::string key_of(const ObjectStoreOptions& options,
                                          const std::string& name) {
    return options.pool + "/" + options.name_space + "/" + name;
  }

 private:
  struct Flight {
    ObjectRequest* request = nullptr;
    std::uint64_t due_ns = 0;
    bool late = false;  // it is answered when the caller's patience has ended
  };

  void run_device() noexcept;
  [[nodiscard]] bool stalls(const ObjectRequest& request) const noexcept;
  [[nodiscard]] bool take_due(Flight& flight, std::uint64_t& next_due) noexcept;
  [[nodiscard]] int perform(const Flight& flight) noexcept;
  [[nodiscard]] int read(const ObjectRequest& request) noexcept;
  [[nodiscard]] int write(const ObjectRequest& request, bool late) noexcept;
  [[nodiscard]] int remove(const ObjectRequest& request) noexcept;

  SimCore& core_;
  const std::uint64_t wait_ns_;
  const ObjectStoreOptions options_;
  const std::string session_;
  const bool reading_;
  SimCore::SimObjects* objects() noexcept {
    const auto found = core_.sessions.find(session_);
    return found == core_.sessions.end() ? nullptr : &found->second;
  }
  std::vector<Flight> flights_;
  std::atomic<std::uint32_t> work_{0};  // bumped when the device has something to look at
  bool lost_ = false;
  bool published_ = false;  // or perhaps
  bool stop_ = false;
  SimThreadState* device_ = nullptr;
};

}  // namespace holdfast::sys
