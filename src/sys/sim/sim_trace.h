// The event log of a simulated machine: a hash of all of it, by which two runs are compared, and
// the last events as text for the report of a failing seed.
//
// No event holds a host address: those differ from run to run.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>

namespace holdfast::sys {

enum class SimEvent : std::uint8_t {
  start,
  finish,
  switch_to,
  wait,
  wake,
  timeout,
  interrupt,
  reserve,
  release,
  discard,
  remap_out,
  register_range,
  unregister_range,
  copy,
  move,
  protect,
  load,
  store,
  fault,
  served,
  read,
  write,
  punch,
  note,
};

class SimTrace {
 public:
  void add(SimEvent event, std::uint64_t thread, std::uint64_t a, std::uint64_t b) noexcept {
    last_[count_++ % kKept] = {a, b, static_cast<std::uint32_t>(thread), event};
    mix(static_cast<std::uint64_t>(event) << 32 | thread);
    mix(a);
    mix(b);
  }
  [[nodiscard]] std::uint64_t hash() const noexcept { return hash_; }
  [[nodiscard]] std::uint64_t count() const noexcept { return count_; }
  // The last events, one a line. Allocates.
  [[nodiscard]] std::string tail(std::size_t lines) const;

 private:
  struct Entry {
    std::uint64_t a, b;
    std::uint32_t thread;
    SimEvent event;
  };
  static constexpr std::size_t kKept = 256;  // enough to see how the last operation went wrong

  void mix(std::uint64_t value) noexcept {
    hash_ = (hash_ ^ value) * 0x9fb21c651e98df25ULL;
    hash_ ^= hash_ >> 29;
  }

  std::uint64_t hash_ = 0x6a09e667f3bcc909ULL;
  std::uint64_t count_ = 0;
  std::array<Entry, kKept> last_;
};

}  // namespace holdfast::sys
