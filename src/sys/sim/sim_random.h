// The chance of the simulated machine: splitmix64 (Steele, Lea, Flood 2014), one word of state, so
// that each part of the machine can have a stream of its own, split from the seed.
//
// Context: any; one thread.
#pragma once

#include <cstdint>

namespace holdfast::sys {

class SimRandom {
 public:
  explicit SimRandom(std::uint64_t seed) noexcept : state_(seed) {}

  std::uint64_t next() noexcept {
    state_ += 0x9e3779b97f4a7c15ULL;
    std::uint64_t z = state_;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
    return z ^ (z >> 31);
  }
  // A number in [0, bound). bound: 1 to 2^32; the bias is below bound / 2^32.
  std::uint64_t below(std::uint64_t bound) noexcept { return (next() >> 32) * bound >> 32; }
  // A number in [low, high].
  std::uint64_t between(std::uint64_t low, std::uint64_t high) noexcept {
    return low + below(high - low + 1);
  }
  // True `parts` times in `whole`. No draw for 0, so that what is switched off costs no chance.
  bool chance(std::uint32_t parts, std::uint32_t whole) noexcept {
    return parts != 0 && below(whole) < parts;
  }
  // One of the given values.
  template <class T, std::uint64_t kCount>
  const T& pick(const T (&values)[kCount]) noexcept {
    return values[below(kCount)];
  }
  // A stream of its own.
  SimRandom split() noexcept { return SimRandom(next() ^ 0x5851f42d4c957f2dULL); }

 private:
  std::uint64_t state_;
};

}  // namespace holdfast::sys
