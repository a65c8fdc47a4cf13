// Parking: how a thread waits for a word in memory to change. Locks and entries park through here,
// so that the simulated machine can schedule its threads by seed and the real one uses futexes.
//
// sync/ calls no operating system: sys/ installs the real parking (sys/real/parking.cc) before
// main; the simulated machine installs its own for the thread that runs it.
#pragma once

#include <atomic>
#include <cstdint>

namespace holdfast::sync {

class Parking {
 public:
  // Waits while `word` holds `expected`, until woken or until `timeout_ns` have passed (0: no
  // limit). May wake for no reason. Task context; async-signal-safe.
  virtual void wait(const std::atomic<std::uint32_t>& word, std::uint32_t expected,
                    std::uint64_t timeout_ns) noexcept = 0;
  // Wakes up to `count` waiters of the word. Any context.
  virtual void wake(const std::atomic<std::uint32_t>& word, std::uint32_t count) noexcept = 0;
  // Lets others run: one turn of a spin loop. Any context.
  virtual void relax() noexcept = 0;

 protected:
  ~Parking() = default;
};

inline constexpr std::uint32_t kWakeAll = 0x7fffffff;

// The parking of this thread: its override, or the process's. Any context.
[[nodiscard]] Parking& parking() noexcept;

// Sets the process's parking; called once by sys/ during static initialisation.
void install_parking(Parking* parking) noexcept;

}  // namespace holdfast::sync
