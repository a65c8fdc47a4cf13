// A pointer chase over more memory than may be resident: the hard case for anything that pages.
//
// Usage: holdfast-bench-chase MIB STEPS
// Gives every page its content (of which LZ4 makes about half) in order, with a pointer to the next
// page of one random cycle through all of them, then follows STEPS pointers. Prints a sum of what
// it met: two runs have read the same memory if they print the same.
#include <sys/mman.h>

#include <cstdio>
#include <cstdlib>
#include <numeric>
#include <utility>
#include <vector>

#include "workload.h"

namespace {

using holdfast::bench::kPageBytes;
using holdfast::bench::load_word;
using holdfast::bench::Random;
using holdfast::bench::store_word;
using holdfast::bench::Workload;

constexpr std::uint64_t kLinkOffset = 8;  // word 0 is the page's tag
constexpr std::uint64_t kSeed = 5;

// Sattolo's shuffle: a permutation that is one cycle.
std::vector<std::uint32_t> random_cycle(std::uint64_t pages) {
  std::vector<std::uint32_t> next(pages);
  std::iota(next.begin(), next.end(), 0U);
  Random random(kSeed);
  for (std::uint64_t i = pages - 1; i > 0; --i) std::swap(next[i], next[random.below(i)]);
  return next;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) return std::fprintf(stderr, "usage: %s MIB STEPS\n", argv[0]), 2;
  const std::uint64_t pages = (std::strtoull(argv[1], nullptr, 10) << 20) / kPageBytes;
  const std::uint64_t steps = std::strtoull(argv[2], nullptr, 10);
  if (pages == 0) return std::fprintf(stderr, "%s: no memory to chase through\n", argv[0]), 2;
  void* const memory =
      mmap(nullptr, pages * kPageBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) return std::perror("mmap"), 1;
  auto* const base = static_cast<std::byte*>(memory);
  const std::vector<std::uint32_t> next = random_cycle(pages);
  for (std::uint64_t i = 0; i < pages; ++i) {
    Workload(base, i, 1, kSeed).fill();
    store_word(base + i * kPageBytes + kLinkOffset, next[i]);
  }
  std::uint64_t page = 0;
  std::uint64_t sum = 0;
  for (std::uint64_t i = 0; i < steps; ++i) {
    const std::byte* const at = base + page * kPageBytes;
    sum = sum * 31 + load_word(at);
    page = load_word(at + kLinkOffset);
  }
  std::printf("%llu pages, %llu steps: %016llx\n", static_cast<unsigned long long>(pages),
              static_cast<unsigned long long>(steps), static_cast<unsigned long long>(sum));
}
