// The measured loops: the same code over the engine's memory and over the kernel's.
//
// Content: 64 records of 64 bytes, each 16 random bytes (a quarter), a running number, a time and
// 32 characters of text. LZ4 makes half of it and takes 3 to 4 us a page for that, as for real
// data; nothing is same-filled. Word 0 is a tag computed from the page's number: every load of the
// loops checks it, on both sides, so a figure can never come from wrong data. Stores go to word 1
// and are random too: pages stay what they are.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>

#include "trouble.h"

namespace holdfast::bench {

inline constexpr std::uint64_t kPageBytes = 4096;

// xoshiro256**, seeded by splitmix64: the access pattern depends on the seed alone.
class Random {
 public:
  explicit Random(std::uint64_t seed) noexcept;
  std::uint64_t next() noexcept;
  // Uniform in [0, bound), bound < 2^32 (multiply and shift; the bias is below 2^-32 * bound).
  std::uint64_t below(std::uint64_t bound) noexcept { return ((next() >> 32) * bound) >> 32; }

 private:
  std::uint64_t state_[4];
};

enum class Work : std::uint8_t {
  random_read,   // load one 8-byte word of a uniformly random page
  random_write,  // store one
  random_mixed,  // load or store, by the toss of a coin
  sequential,    // load one word of each page, in order, round and round
};

struct Interval {
  std::uint64_t ops = 0;
  std::uint64_t wrong = 0;  // loads that did not find their page's tag
  double seconds = 0;
  [[nodiscard]] double microseconds_per_op() const { return seconds * 1e6 / double(ops); }
};

// Seconds since some fixed point; monotonic.
[[nodiscard]] double now_seconds();
[[nodiscard]] std::uint64_t page_tag(std::uint64_t page) noexcept;
[[nodiscard]] std::uint64_t load_word(const std::byte* address) noexcept;
void store_word(std::byte* address, std::uint64_t value) noexcept;

// The loops over pages [first_page, first_page + pages) of the memory at `base`. Owns nothing. One
// thread per Workload; several may work on one memory.
class Workload {
 public:
  Workload(std::byte* base, std::uint64_t first_page, std::uint64_t pages, std::uint64_t seed);

  // Gives every page its content, in order.
  void fill();
  // Measures `ops` operations; `sequential` goes on where the last interval ended.
  Interval run(Work work, std::uint64_t ops);
  // The next page of the pattern, for loops that do more than load and store.
  std::uint64_t next_page(Work work);
  [[nodiscard]] std::byte* address_of(std::uint64_t page) const {
    return base_ + page * kPageBytes;
  }

 private:
  template <Work kWork>
  std::uint64_t loop(std::uint64_t ops);

  std::byte* base_;
  std::uint64_t first_page_;
  std::uint64_t pages_;
  std::uint64_t position_ = 0;
  Random random_;
};

// Runs intervals until at least `ops_least` operations are done and two intervals in a row differ
// by less than 5 % (at most ten more: some machines never calm down). Returns the operations done.
Result<std::uint64_t> warm_up(const std::function<Result<Interval>()>& interval,
                              std::uint64_t ops_least);
// Trouble if a load of the interval found the wrong tag.
[[nodiscard]] Result<Interval> checked(const Interval& interval);

}  // namespace holdfast::bench
