// Forks, and rewrites its memory on both sides: what `holdfast run` is tested with.
//
//   run_forks MEBIBYTES CHILDREN
//
// Each child gets what was there, rewrites every other page with what is its own, and checks all;
// the parent rewrites every third meanwhile. Each prints the checksum of every page, in order.
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>

namespace {

constexpr std::size_t kWords = 512;

std::uint64_t value(std::uint64_t writer, std::uint64_t page, std::uint64_t i) {
  std::uint64_t x = writer * 0x9e3779b97f4a7c15ULL + page * kWords + (page % 2 == 0 ? i : i & 3);
  x ^= x >> 29;
  return x * 0xbf58476d1ce4e5b9ULL;
}

struct Memory {
  std::uint64_t* words;
  std::size_t pages;

  void write(std::uint64_t writer, std::size_t step) const {
    for (std::size_t page = 0; page < pages; page += step) {
      for (std::size_t i = 0; i < kWords; ++i) words[page * kWords + i] = value(writer, page, i);
    }
  }
  // Of all pages; each must be one writer's, and no other's.
  [[nodiscard]] std::uint64_t checksum(std::uint64_t writer, std::size_t step) const {
    std::uint64_t sum = 0;
    for (std::size_t page = 0; page < pages; ++page) {
      const std::uint64_t by = page % step == 0 ? writer : 0;
      for (std::size_t i = 0; i < kWords; ++i) {
        const std::uint64_t is = words[page * kWords + i];
        if (is != value(by, page, i)) {
          std::printf("WRONG: process %d page %zu word %zu\n", static_cast<int>(writer), page, i);
          std::fflush(stdout);
          ::_exit(1);
        }
        sum = (sum ^ is) * 0x100000001b3ULL;
      }
    }
    return sum;
  }
};

void tell(int out, std::uint64_t sum) {
  if (::write(out, &sum, sizeof sum) != sizeof sum) ::_exit(2);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 3) return 2;
  const std::size_t bytes = std::strtoull(argv[1], nullptr, 10) << 20;
  const auto children = static_cast<std::uint64_t>(std::atoi(argv[2]));
  void* const got =
      ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (got == MAP_FAILED) return 2;
  const Memory memory{static_cast<std::uint64_t*>(got), bytes / 4096};
  memory.write(0, 1);
  int sums[2];
  for (std::uint64_t child = 1; child <= children; ++child) {
    if (::pipe(sums) != 0) return 2;
    const pid_t pid = ::fork();
    if (pid == 0) {
      memory.write(child, 2);
      tell(sums[1], memory.checksum(child, 2));
      ::_exit(0);
    }
    ::close(sums[1]);
    memory.write(1000 + child, 3);
    std::uint64_t sum = 0;
    const bool told = ::read(sums[0], &sum, sizeof sum) == sizeof sum;
    int status = 0;
    if (::waitpid(pid, &status, 0) != pid || status != 0 || !told) return 1;
    std::printf("child %llu: %016llx, parent: %016llx\n", static_cast<unsigned long long>(child),
                static_cast<unsigned long long>(sum),
                static_cast<unsigned long long>(memory.checksum(1000 + child, 3)));
    std::fflush(stdout);
    memory.write(0, 1);
    ::close(sums[0]);
  }
  return 0;
}
