// The seed of a random test: printed with every failure, replayed by HOLDFAST_SEED.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <cstdlib>
#include <random>
#include <string>

namespace holdfast::tests {

// HOLDFAST_SEED if it is set, else one by chance.
inline std::uint64_t test_seed() {
  if (const char* text = std::getenv("HOLDFAST_SEED")) return std::strtoull(text, nullptr, 0);
  std::random_device device;
  return std::uint64_t{device()} << 32 | device();
}

// How many seeds a test with `usual` of them tries: HOLDFAST_SEED_FACTOR times as many (a fraction
// will do: 0.1), at least one; one where HOLDFAST_SEED names it.
inline std::uint64_t seed_count(std::uint64_t usual) {
  if (std::getenv("HOLDFAST_SEED") != nullptr) return 1;
  const char* const text = std::getenv("HOLDFAST_SEED_FACTOR");
  const double factor = text == nullptr ? 1.0 : std::strtod(text, nullptr);
  const auto count = static_cast<std::uint64_t>(static_cast<double>(usual) * factor);
  return count == 0 ? 1 : count;
}

// Names the seed in every failure of the enclosing scope:  HF_SEED_TRACE(seed);
#define HF_SEED_TRACE(seed) SCOPED_TRACE("replay with HOLDFAST_SEED=" + std::to_string(seed))

}  // namespace holdfast::tests
