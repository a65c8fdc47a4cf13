// Which call fails: by chance, or exactly the n-th of a kind.
//
// For exhaustive loops: make a machine, fail_at(kind, n, Repeat::once), run the operation, check;
// for n = 1, 2, ... until injected(kind) stays 0, that is, until the operation has no n-th call.
#pragma once

#include <array>
#include <cstdint>

#include "sys/sim/sim_options.h"
#include "sys/sim/sim_random.h"

namespace holdfast::sys {

enum class Repeat : std::uint8_t { once, forever };

class Failures {
 public:
  Failures(const SimOptions& options, SimRandom random) noexcept
      : rates_(options.failures_per_million), random_(random) {}

  // The n-th call of the kind from now on fails (n >= 1); forever: and every one after it.
  void fail_at(FailureKind kind, std::uint64_t n, Repeat repeat) noexcept;
  // Parts in a million of the calls that fail by chance from now on.
  void set_rate(FailureKind kind, std::uint32_t per_million) noexcept;
  // From now on nothing fails.
  void clear() noexcept;

  // Calls of the kind so far, and how many of them were made to fail.
  [[nodiscard]] std::uint64_t count(FailureKind kind) const noexcept { return at(kind).calls; }
  [[nodiscard]] std::uint64_t injected(FailureKind kind) const noexcept {
    return at(kind).injected;
  }
  [[nodiscard]] std::uint64_t injected_in_all() const noexcept;

  // Counts one call; true: it fails. For the machine's parts.
  [[nodiscard]] bool hit(FailureKind kind) noexcept;

 private:
  struct State {
    std::uint64_t calls = 0;
    std::uint64_t injected = 0;
    std::uint64_t fail_from = 0;  // number of the call that fails; 0: none
    Repeat repeat = Repeat::once;
  };
  [[nodiscard]] const State& at(FailureKind kind) const noexcept {
    return states_[static_cast<std::size_t>(kind)];
  }

  std::array<State, kFailureKinds> states_{};
  std::array<std::uint32_t, kFailureKinds> rates_;
  SimRandom random_;
};

}  // namespace holdfast::sys
