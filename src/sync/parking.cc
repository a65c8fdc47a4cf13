#include "sync/parking.h"

#include "base/base.h"
#include "sync/context.h"

namespace holdfast::sync {
namespace {

// What there is until sys/ installs a real parking: a wait spins for a moment and then "wakes for
// no reason", which every caller of wait() allows for.
class SpinningParking final : public Parking {
 public:
  void wait(const std::atomic<std::uint32_t>& word, std::uint32_t expected,
            std::uint64_t /*timeout_ns*/) noexcept override {
    for (int i = 0; i < kSpins && word.load(std::memory_order_acquire) == expected; ++i) relax();
  }
  void wake(const std::atomic<std::uint32_t>&, std::uint32_t) noexcept override {}
  void relax() noexcept override { __builtin_ia32_pause(); }

 private:
  static constexpr int kSpins = 128;  // about 5 us: longer than any critical section of ours
};

constinit SpinningParking spinning_parking;
constinit std::atomic<Parking*> process_parking{&spinning_parking};

}  // namespace

Parking& parking() noexcept {
  Parking* const own = this_thread().parking;
  return own != nullptr ? *own : *process_parking.load(std::memory_order_acquire);
}

void install_parking(Parking* parking) noexcept {
  HF_CHECK(parking != nullptr);
  process_parking.store(parking, std::memory_order_release);
}

}  // namespace holdfast::sync
