// What tests of the engine on the real machine share: small engines of every kind, pages whose
// content says what they are, and children for what ends a process.
#pragma once

#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "base/base.h"
#include "holdfast/holdfast.h"
#include "sys/probe.h"

namespace holdfast::engine::test {

#if defined(__SANITIZE_THREAD__)
inline constexpr bool kUnderTsan = true;
#else
inline constexpr bool kUnderTsan = false;
#endif
#if defined(__SANITIZE_ADDRESS__)
inline constexpr bool kUnderAsan = true;
#else
inline constexpr bool kUnderAsan = false;
#endif

inline constexpr std::uint64_t kMiB = 1ULL << 20;
inline constexpr std::uint64_t kBudget = Engine::kMinimumBudget;

enum class Tiers : std::uint8_t { ram_lz4, ram_zstd, file_ring, file_plain, ram_file, file_ram };

inline const char* name(Tiers tiers) {
  constexpr const char* kNames[] = {"ram_lz4",    "ram_zstd", "file_ring",
                                    "file_plain", "ram_file", "file_ram"};
  return kNames[static_cast<std::size_t>(tiers)];
}

inline SwapTier ram_tier(SwapCompression compression, std::uint64_t limit = 0) {
  SwapTier tier;
  tier.compression = compression;
  tier.limit_bytes = limit;
  return tier;
}

inline SwapTier file_tier(SwapIo io, std::uint64_t limit = 0,
                          SwapCompression compression = SwapCompression::lz4) {
  SwapTier tier;
  tier.kind = SwapTier::Kind::file;
  tier.compression = compression;
  tier.io = io;
  tier.limit_bytes = limit;
  return tier;
}

inline std::vector<SwapTier> tiers_of(Tiers tiers) {
  switch (tiers) {
    case Tiers::ram_lz4:
      return {ram_tier(SwapCompression::lz4)};
    case Tiers::ram_zstd:
      return {ram_tier(SwapCompression::zstd)};
    case Tiers::file_ring:
      return {file_tier(SwapIo::ring)};
    case Tiers::file_plain:
      return {file_tier(SwapIo::plain, 0, SwapCompression::none)};
    case Tiers::ram_file:
      return {ram_tier(SwapCompression::lz4, kMiB), file_tier(SwapIo::automatic)};
    case Tiers::file_ram:
      return {file_tier(SwapIo::automatic, 2 * kMiB), ram_tier(SwapCompression::lz4)};
  }
  return {};
}

// Why the machine cannot run an engine of these options; empty: it can.
inline std::string cannot_run(const Options& options) {
  static const sys::Capabilities machine = sys::probe_capabilities();
  if (options.delivery == FaultDelivery::thread && !machine.thread_delivery.works) {
    return "thread delivery needs kernel-mode faults, which this user may not take";
  }
  for (const SwapTier& tier : options.swap) {
    if (tier.io == SwapIo::ring && !machine.io_uring.works) return "io_uring is forbidden here";
  }
  return "";
}

// An engine of the least budget, with small windows, in compressed RAM.
inline Options small_options(FaultDelivery delivery = FaultDelivery::signal) {
  Options options;
  options.memory_budget = kBudget;
  options.window_pages = 32;
  options.delivery = delivery;
  return options;
}

// The engine, or null with a failure that says why.
inline std::unique_ptr<Engine> make_engine(const Options& options) {
  auto engine = Engine::create(options);
  if (engine) return std::move(*engine);
  ADD_FAILURE() << engine.error().message();
  return nullptr;
}

inline Region map(Engine& engine, std::uint64_t bytes, std::uint64_t capacity = 0) {
  auto region = engine.map_anonymous(bytes, capacity);
  if (region) return std::move(*region);
  ADD_FAILURE() << region.error().message();
  return {};
}

[[nodiscard]] inline bool all_is_well(Engine& engine) { return engine.check_all(); }

// --- pages ---

inline std::byte* page_at(const Region& region, std::uint64_t page) {
  return region.data() + page * kPageSize;
}

// The words of a page with this key: one in 32 looks random, so that pages differ throughout and
// compress to about 200 bytes.
inline std::uint64_t word_of(std::uint64_t key, std::size_t i) {
  if (i % 32 != 0) return key;
  std::uint64_t x = (key << 9 | i) * 0x9e3779b97f4a7c15U;
  x ^= x >> 29;
  return x * 0xbf58476d1ce4e5b9U;
}

inline void write_page(std::byte* page, std::uint64_t key) {
  auto* words = reinterpret_cast<volatile std::uint64_t*>(page);
  for (std::size_t i = 0; i < kPageSize / sizeof(std::uint64_t); ++i) words[i] = word_of(key, i);
}

inline bool page_holds(const std::byte* page, std::uint64_t key) {
  const auto* words = reinterpret_cast<const volatile std::uint64_t*>(page);
  bool good = true;
  for (std::size_t i = 0; i < kPageSize / sizeof(std::uint64_t); ++i) {
    good = good && words[i] == word_of(key, i);
  }
  return good;
}

// Bytes that no codec makes smaller.
inline void write_noise(std::byte* page, std::uint64_t key) {
  auto* words = reinterpret_cast<volatile std::uint64_t*>(page);
  std::uint64_t x = key * 0x9e3779b97f4a7c15U + 1;
  for (std::size_t i = 0; i < kPageSize / sizeof(std::uint64_t); ++i) {
    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    words[i] = x;
  }
}

inline bool page_is_zero(const std::byte* page) {
  const auto* words = reinterpret_cast<const volatile std::uint64_t*>(page);
  std::uint64_t any = 0;
  for (std::size_t i = 0; i < kPageSize / sizeof(std::uint64_t); ++i) any |= words[i];
  return any == 0;
}

// How many pages of [first, end) do not hold key + their number.
inline std::uint64_t wrong_pages(const Region& region, std::uint64_t first, std::uint64_t end,
                                 std::uint64_t key) {
  std::uint64_t wrong = 0;
  for (std::uint64_t p = first; p < end; ++p) {
    wrong += page_holds(page_at(region, p), key + p) ? 0 : 1;
  }
  return wrong;
}

inline std::uint64_t nonzero_pages(const Region& region, std::uint64_t first, std::uint64_t end) {
  std::uint64_t wrong = 0;
  for (std::uint64_t p = first; p < end; ++p) wrong += page_is_zero(page_at(region, p)) ? 0 : 1;
  return wrong;
}

inline void write_pages(const Region& region, std::uint64_t first, std::uint64_t end,
                        std::uint64_t key) {
  for (std::uint64_t p = first; p < end; ++p) write_page(page_at(region, p), key + p);
}

// Everything that can leave memory does.
inline void push_out(Engine& engine) {
  const Stats stats = engine.stats();
  (void)engine.reclaim(4 * stats.frames_total);
}

}  // namespace holdfast::engine::test
