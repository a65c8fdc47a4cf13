// A pointer chase over more memory than may be resident: the hard case for anything that pages.
//
// Usage: holdfast-bench-chase MIB STEPS
// Gives every page its content (of which LZ4 makes about half) in order, then goes STEPS steps from
// page to page: where to is a hash of what stands in the page and of the number of the step, so
// that no address is known before the load before it is done, and every page is as likely as any
// other at any time. (A cycle through all pages would come to each when it has just been evicted.)
// Prints a sum of what it met: two runs have read the same memory if they print the same.
#include <sys/mman.h>

#include <cstdio>
#include <cstdlib>

#include "workload.h"

namespace {

using holdfast::bench::kPageBytes;
using holdfast::bench::load_word;
using holdfast::bench::page_tag;
using holdfast::bench::Workload;

constexpr std::uint64_t kSeed = 5;

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
  Workload(base, 0, pages, kSeed).fill();
  std::uint64_t page = 0;
  std::uint64_t sum = 0;
  for (std::uint64_t i = 0; i < steps; ++i) {
    const std::uint64_t met = load_word(base + page * kPageBytes);
    sum = sum * 31 + met;
    page = page_tag(met + i) % pages;  // a mixing function is what that is
  }
  std::printf("%llu pages, %llu steps: %016llx\n", static_cast<unsigned long long>(pages),
              static_cast<unsigned long long>(steps), static_cast<unsigned long long>(sum));
}
