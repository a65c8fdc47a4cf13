// A program whose threads go through memory, each through its own: in order, all of it again and
// again, or at random. Each checks every word that it reads, and after each page that it still has
// the CPUs that it had. It knows nothing of Holdfast.
//
//   run_streams MEBIBYTES ROUNDS ordered|random THREADS
//
// Exit status: 0; 1 after a line that says what was wrong; 2 for wrong usage.
#include <sched.h>
#include <sys/mman.h>

#include <atomic>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <string>
#include <thread>
#include <vector>

namespace {

constexpr std::size_t kPageWords = 4096 / sizeof(std::uint64_t);

struct Work {
  std::size_t pages;
  std::size_t rounds;
  bool ordered;
};

std::uint64_t word(std::size_t thread, std::size_t page, std::size_t i) {
  if (i % 2 == 0) return page;  // so that it can be compressed
  return ((page + 1) * 0x9e3779b97f4a7c15ULL + thread) ^ i * 0xff51afd7ed558ccdULL;
}

bool is_right(const std::uint64_t* words, std::size_t thread, std::size_t page) {
  for (std::size_t i = 0; i < kPageWords; ++i) {
    if (words[i] == word(thread, page, i)) continue;
    std::printf("thread %zu, page %zu, word %zu: wrong\n", thread, page, i);
    return false;
  }
  return true;
}

cpu_set_t own_cpus() {
  cpu_set_t cpus;
  CPU_ZERO(&cpus);
  sched_getaffinity(0, sizeof cpus, &cpus);
  return cpus;
}

bool go(std::size_t thread, const Work& work) {
  void* const memory = mmap(nullptr, work.pages * kPageWords * sizeof(std::uint64_t),
                            PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) return false;
  auto* const words = static_cast<std::uint64_t*>(memory);
  for (std::size_t page = 0; page < work.pages; ++page) {
    for (std::size_t i = 0; i < kPageWords; ++i)
      words[page * kPageWords + i] = word(thread, page, i);
  }
  const cpu_set_t cpus = own_cpus();
  std::mt19937_64 random(thread);
  for (std::size_t n = 0; n < work.rounds * work.pages; ++n) {
    const std::size_t page = work.ordered ? n % work.pages : random() % work.pages;
    if (!is_right(words + page * kPageWords, thread, page)) return false;
    const cpu_set_t now = own_cpus();
    if (!CPU_EQUAL(&cpus, &now)) {
      std::printf("thread %zu, page %zu: other CPUs\n", thread, page);
      return false;
    }
  }
  return true;
}

}  // namespace

int main(int count, char** arguments) {
  if (count != 5) return 2;
  const std::size_t threads = std::strtoul(arguments[4], nullptr, 10);
  const std::size_t pages = std::strtoul(arguments[1], nullptr, 10) << 8;
  if (threads == 0 || pages < threads) return 2;
  const Work work{.pages = pages / threads,
                  .rounds = std::strtoul(arguments[2], nullptr, 10),
                  .ordered = std::string(arguments[3]) == "ordered"};
  std::atomic<bool> all_right{true};
  std::vector<std::thread> running;
  for (std::size_t i = 0; i < threads; ++i) {
    running.emplace_back([&, i] {
      if (!go(i, work)) all_right = false;
    });
  }
  for (std::thread& thread : running) thread.join();
  if (all_right) std::puts("every byte was right");
  return all_right ? 0 : 1;
}
