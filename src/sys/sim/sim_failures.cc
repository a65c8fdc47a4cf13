#include "sys/sim/sim_failures.h"

#include "base/base.h"

namespace holdfast::sys {

void Failures::fail_at(FailureKind kind, std::uint64_t n, Repeat repeat) noexcept {
  HF_CHECK(n >= 1);
  State& state = states_[static_cast<std::size_t>(kind)];
  state.fail_from = state.calls + n;
  state.repeat = repeat;
}

void Failures::set_rate(FailureKind kind, std::uint32_t per_million) noexcept {
  HF_CHECK(per_million <= 1'000'000);
  rates_[static_cast<std::size_t>(kind)] = per_million;
}

void Failures::clear() noexcept {
  rates_.fill(0);
  for (State& state : states_) state.fail_from = 0;
}

std::uint64_t Failures::injected_in_all() const noexcept {
  std::uint64_t sum = 0;
  for (const State& state : states_) sum += state.injected;
  return sum;
}

bool Failures::hit(FailureKind kind) noexcept {
  State& state = states_[static_cast<std::size_t>(kind)];
  ++state.calls;
  bool fails = random_.chance(rates_[static_cast<std::size_t>(kind)], 1'000'000);
  if (state.fail_from != 0 && state.calls >= state.fail_from) {
    fails = fails || state.repeat == Repeat::forever || state.calls == state.fail_from;
  }
  state.injected += fails ? 1 : 0;
  return fails;
}

}  // namespace holdfast::sys
