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

// Names the seed in every failure of the enclosing scope:  HF_SEED_TRACE(seed);
#define HF_SEED_TRACE(seed) SCOPED_TRACE("replay with HOLDFAST_SEED=" + std::to_string(seed))

}  // namespace holdfast::tests
