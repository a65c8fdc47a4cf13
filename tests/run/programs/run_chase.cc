// A program that goes through its memory at random, but in the same order each time, and checks
// every byte that it reads. It knows nothing of Holdfast.
//
//   run_chase MEBIBYTES ROUNDS [forks]
//
// Each page says which is next; a fourth of them are written to on each round. With forks, two
// children go on with what they have inherited, one after the other.
// Exit status: 0; 1 after a line that says what was wrong; 2 for wrong usage.
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <numeric>
#include <random>
#include <string>
#include <utility>
#include <vector>

namespace {

constexpr std::size_t kPageWords = 4096 / sizeof(std::uint64_t);
constexpr std::size_t kNext = 0;
constexpr std::size_t kVisits = 1;

struct Memory {
  std::uint64_t* words;
  std::size_t pages;
  [[nodiscard]] std::uint64_t* page(std::size_t index) const { return words + index * kPageWords; }
};

std::uint64_t word(std::size_t page, std::size_t i) {
  if (i % 2 == 0) return page;  // so that it can be compressed
  return (page + 1) * 0x9e3779b97f4a7c15ULL ^ i * 0xff51afd7ed558ccdULL;
}
bool is_written(std::size_t page) { return page % 4 == 0; }

// Any engine but std's distributions gives the same everywhere.
std::vector<std::uint32_t> cycle(std::size_t pages) {
  std::vector<std::uint32_t> order(pages);
  std::iota(order.begin(), order.end(), 0U);
  std::mt19937_64 random(4711);
  for (std::size_t i = pages - 1; i > 0; --i) std::swap(order[i], order[random() % (i + 1)]);
  return order;
}

void fill(const Memory& memory) {
  const std::vector<std::uint32_t> order = cycle(memory.pages);
  std::vector<std::uint32_t> next(memory.pages);
  for (std::size_t i = 0; i < memory.pages; ++i) next[order[i]] = order[(i + 1) % memory.pages];
  for (std::size_t page = 0; page < memory.pages; ++page) {
    std::uint64_t* const words = memory.page(page);
    words[kNext] = next[page];
    words[kVisits] = 0;
    for (std::size_t i = kVisits + 1; i < kPageWords; ++i) words[i] = word(page, i);
  }
}

void go_round(const Memory& memory, std::uint64_t rounds_before) {
  std::size_t page = 0;
  for (std::size_t visit = 0; visit < memory.pages; ++visit) {
    std::uint64_t* const words = memory.page(page);
    bool is_right = words[kNext] < memory.pages;
    is_right = is_right && words[kVisits] == (is_written(page) ? rounds_before : 0);
    for (std::size_t i = kVisits + 1; i < kPageWords; ++i) is_right &= words[i] == word(page, i);
    if (!is_right) {
      std::printf("WRONG: page %zu in round %llu\n", page,
                  static_cast<unsigned long long>(rounds_before));
      std::fflush(stdout);
      ::_exit(1);
    }
    if (is_written(page)) ++words[kVisits];
    page = words[kNext];
  }
}

void go_on_in_child(const Memory& memory, std::uint64_t rounds) {
  const pid_t child = ::fork();
  if (child == 0) {
    go_round(memory, rounds);
    ::_exit(0);
  }
  int status = -1;
  if (child < 0 || ::waitpid(child, &status, 0) != child || status != 0) {
    std::puts("WRONG: a child");
    std::exit(1);
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 3) return 2;
  const std::size_t bytes = std::strtoull(argv[1], nullptr, 10) << 20;
  const std::uint64_t rounds = std::strtoull(argv[2], nullptr, 10);
  void* const got = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                           MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (got == MAP_FAILED || bytes == 0) return 2;
  const Memory memory{static_cast<std::uint64_t*>(got), bytes / 4096};
  fill(memory);
  for (std::uint64_t round = 0; round < rounds; ++round) go_round(memory, round);
  if (argc > 3 && std::string(argv[3]) == "forks") {
    for (int i = 0; i < 2; ++i) go_on_in_child(memory, rounds);
  }
  std::puts("every byte was right");
  return 0;
}
