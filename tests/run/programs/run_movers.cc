// Forks while other threads move their memory to and fro, and throw some of it away: what
// `holdfast run` is tested with. It knows nothing of Holdfast.
//
//   run_movers MEBIBYTES MOVERS CHILDREN
//
// Each mover has one region and two places for it, and now and then a second region that it unmaps
// again. A child finds each region where it was at the fork, whichever place that is, and checks
// every byte of it. Exit status: 0 if all of them were right.
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <thread>
#include <vector>

namespace {

constexpr std::size_t kPage = 4096;
constexpr std::size_t kWords = kPage / sizeof(std::uint64_t);
constexpr int kAccess = PROT_READ | PROT_WRITE;
constexpr int kPrivate = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE;
// Where the kernel, which maps from the top down, puts nothing by itself.
constexpr std::uintptr_t kPlaces = 0x1000'0000'0000;
constexpr std::uintptr_t kApart = 0x10'0000'0000;

std::atomic<bool> g_done{false};

std::uint64_t value(std::uint64_t owner, std::uint64_t page, std::uint64_t i) {
  const std::uint64_t x = (owner << 40 | page << 10 | (page % 2 == 0 ? i : i & 7)) + 1;
  return (x ^ x >> 29) * 0x9e3779b97f4a7c15ULL;
}

struct Mover {
  std::uint64_t number;
  std::size_t pages;

  [[nodiscard]] void* place(int which) const {
    return reinterpret_cast<void*>(kPlaces + (number * 4 + static_cast<unsigned>(which)) * kApart);
  }
  void fill(void* where, std::uint64_t owner) const {
    auto* const words = static_cast<std::uint64_t*>(where);
    for (std::size_t page = 0; page < pages; ++page) {
      for (std::size_t i = 0; i < kWords; ++i) words[page * kWords + i] = value(owner, page, i);
    }
  }
  [[nodiscard]] static bool is_right(const void* where, std::uint64_t owner, std::size_t page) {
    const auto* const words = static_cast<const std::uint64_t*>(where) + page * kWords;
    std::size_t i = 0;
    while (i < kWords && words[i] == value(owner, page, i)) ++i;
    return i == kWords;
  }
  // Pages that are not the owner's.
  [[nodiscard]] std::size_t count_wrong(const void* where, std::uint64_t owner) const {
    std::size_t wrong = 0;
    for (std::size_t page = 0; page < pages; ++page) wrong += is_right(where, owner, page) ? 0 : 1;
    return wrong;
  }
  [[nodiscard]] bool is_at(int which) const {
    unsigned char page = 0;
    return ::mincore(place(which), kPage, &page) == 0;
  }
  // In the child, of what was when it was forked. The second region may have been unmapped.
  [[nodiscard]] std::size_t count_wrong_here() const {
    if (is_at(0) == is_at(1)) return pages;
    const std::size_t wrong = count_wrong(place(is_at(0) ? 0 : 1), number);
    return wrong + (is_at(2) ? count_wrong(place(2), number + 1000) : 0);
  }

  void run() const {
    std::size_t round = 0;
    for (int at = 0; !g_done.load(); at = 1 - at, round += 97) {
      if (::mremap(place(at), pages * kPage, pages * kPage, MREMAP_MAYMOVE | MREMAP_FIXED,
                   place(1 - at)) == MAP_FAILED) {
        std::perror("mremap");
        std::_Exit(2);
      }
      if (::mremap(place(2), pages * kPage, pages * kPage, MREMAP_MAYMOVE | MREMAP_FIXED,
                   place(3)) == MAP_FAILED ||
          ::mremap(place(3), pages * kPage, pages * kPage, MREMAP_MAYMOVE | MREMAP_FIXED,
                   place(2)) == MAP_FAILED) {
        std::perror("mremap");
        std::_Exit(2);
      }
      // Some of it is touched, too: without a pause, threads that move would keep any fault from
      // being served.
      if (!is_right(place(1 - at), number, round % pages) ||
          !is_right(place(2), number + 1000, round % pages)) {
        std::printf("WRONG: page %zu after a move\n", round % pages);
        std::fflush(stdout);
        std::_Exit(1);
      }
    }
  }
};

}  // namespace

int main(int argc, char** argv) {
  if (argc < 4) return 2;
  const auto movers = std::strtoull(argv[2], nullptr, 10);
  const std::size_t pages = (std::strtoull(argv[1], nullptr, 10) << 20) / kPage / movers / 2;
  std::vector<Mover> all;
  std::vector<std::thread> threads;
  for (std::uint64_t number = 1; number <= movers; ++number) {
    const Mover mover{number, pages};
    for (const int which : {0, 2}) {
      void* const got = ::mmap(mover.place(which), pages * kPage, kAccess, kPrivate, -1, 0);
      if (got == MAP_FAILED) return 2;
      mover.fill(got, which == 0 ? number : number + 1000);
    }
    all.push_back(mover);
  }
  threads.reserve(all.size());
  for (const Mover& mover : all) threads.emplace_back([&mover] { mover.run(); });
  int failed = 0;
  for (int children = std::atoi(argv[3]); children > 0; --children) {
    const pid_t child = ::fork();
    if (child == 0) {
      std::size_t wrong = 0;
      for (const Mover& mover : all) wrong += mover.count_wrong_here();
      if (wrong > 0) std::printf("WRONG: %zu pages in a child\n", wrong);
      std::fflush(stdout);
      ::_exit(wrong > 0 ? 1 : 0);
    }
    int status = 0;
    if (child < 0 || ::waitpid(child, &status, 0) != child || status != 0) ++failed;
  }
  g_done.store(true);
  for (std::thread& thread : threads) thread.join();
  for (const Mover& mover : all) {
    if (mover.count_wrong_here() > 0) ++failed;
  }
  std::printf("%d failed\n", failed);
  return failed == 0 ? 0 : 1;
}
