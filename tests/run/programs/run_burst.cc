// Programs that take memory nobody is asked for, in the ways that a pager sees late, and check what
// they wrote. They know nothing of Holdfast.
//
//   run_burst threads MEBIBYTES   many short-lived threads; memory that is mapped and written at
//   once run_burst forks MEBIBYTES     both sides of forks rewrite what they share run_burst spans
//   MEBIBYTES     mremap across what was mapped in two calls, under pressure
//
// Exit status: 0; 1 after a line that says what was wrong; 2 for wrong usage.
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <sched.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

namespace {

constexpr std::size_t kPage = 4096;
constexpr std::size_t kPageWords = kPage / sizeof(std::uint64_t);

[[noreturn]] void wrong(const char* what) {
  std::printf("WRONG: %s: %s\n", what, std::strerror(errno));
  std::fflush(stdout);
  ::_exit(1);
}

std::uint64_t word(std::uint64_t key, std::size_t i) {
  return (key * 0x9e3779b97f4a7c15ULL) ^ (i * 0xff51afd7ed558ccdULL);
}
void write_words(std::uint64_t* words, std::size_t count, std::uint64_t key) {
  for (std::size_t i = 0; i < count; ++i) words[i] = word(key, i);
}
void check_words(const std::uint64_t* words, std::size_t count, std::uint64_t key) {
  for (std::size_t i = 0; i < count; ++i) {
    if (words[i] != word(key, i)) wrong("a word");
  }
}

struct Chunk {
  std::unique_ptr<std::uint64_t[]> words;
  std::size_t count;
  std::uint64_t key;
};

// Threads come and go; each leaves chunks of its own sizes behind, in an arena or a mapping.
void threads(std::size_t bytes) {
  std::vector<Chunk> chunks;
  std::mutex mutex;
  std::size_t left = bytes;
  std::uint64_t key = 0;
  while (left > 0) {
    std::vector<std::thread> running;
    for (int i = 0; i < 4 && left > 0; ++i) {
      const std::size_t mine = std::min<std::size_t>(left, std::size_t{4} << 20);
      left -= mine;
      const std::uint64_t first = key += 1000;
      running.emplace_back([&chunks, &mutex, mine, first] {
        std::size_t done = 0;
        for (std::uint64_t k = first; done < mine; ++k) {
          const std::size_t count = (std::size_t{1} << (10 + k % 8)) + k % 500;
          Chunk chunk{std::unique_ptr<std::uint64_t[]>(new std::uint64_t[count]), count, k};
          write_words(chunk.words.get(), count, k);
          done += count * sizeof(std::uint64_t);
          const std::lock_guard lock(mutex);
          chunks.push_back(std::move(chunk));
        }
      });
    }
    for (std::thread& each : running) each.join();
  }
  for (const Chunk& chunk : chunks) check_words(chunk.words.get(), chunk.count, chunk.key);
}

std::uint64_t* map(void* where, std::size_t bytes, int flags = 0) {
  void* const got = ::mmap(where, bytes, PROT_READ | PROT_WRITE,
                           MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | flags, -1, 0);
  if (got == MAP_FAILED) wrong("mmap");
  return static_cast<std::uint64_t*>(got);
}

void forks(std::size_t bytes) {
  const std::size_t pages = bytes / kPage;
  std::uint64_t* const words = map(nullptr, bytes);
  const auto write_all = [&](std::uint64_t key) {
    for (std::size_t i = 0; i < pages; ++i) {
      write_words(words + i * kPageWords, kPageWords, key + i);
    }
  };
  const auto check_all = [&](std::uint64_t key) {
    for (std::size_t i = 0; i < pages; ++i) {
      check_words(words + i * kPageWords, kPageWords, key + i);
    }
  };
  std::uint64_t key = 0;
  write_all(key);
  for (int round = 0; round < 3; ++round) {
    const pid_t child = ::fork();
    if (child < 0) wrong("fork");
    if (child == 0) {
      check_all(key);
      write_all(key + 77);
      check_all(key + 77);
      ::_exit(0);
    }
    write_all(key + 1000);
    key += 1000;
    int status = 0;
    if (::waitpid(child, &status, 0) != child || status != 0) wrong("a child");
    check_all(key);
  }
}

// Two mappings that lie side by side are one; that it may be moved is not a matter of time.
void spans(std::size_t bytes) {
  std::uint64_t* const ballast = map(nullptr, bytes);
  write_words(ballast, bytes / sizeof(std::uint64_t), 1);
  constexpr std::size_t kHalf = 64 * kPage;
  constexpr std::size_t kHalfWords = kHalf / sizeof(std::uint64_t);
  for (std::uint64_t i = 0; i < 400; ++i) {
    std::uint64_t* const place = map(nullptr, 2 * kHalf);
    if (::munmap(place, 2 * kHalf) != 0) wrong("munmap");
    map(place, kHalf, MAP_FIXED_NOREPLACE);
    write_words(place, kHalfWords, i);
    if (i % 3 == 0) {  // the first half is managed by then
      if (ballast[i] != word(1, i)) wrong("the ballast");
      ::sched_yield();
    }
    map(place + kHalfWords, kHalf, MAP_FIXED_NOREPLACE);
    if (i % 2 == 0) write_words(place + kHalfWords, kHalfWords, i + 1);
    void* const moved = ::mremap(place, 2 * kHalf, 3 * kHalf, MREMAP_MAYMOVE);
    if (moved == MAP_FAILED) wrong("mremap");
    auto* const words = static_cast<std::uint64_t*>(moved);
    check_words(words, kHalfWords, i);
    if (i % 2 == 0) check_words(words + kHalfWords, kHalfWords, i + 1);
    words[2 * kHalfWords] = i;
    if (::munmap(moved, 3 * kHalf) != 0) wrong("munmap");
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) return 2;
  const std::string mode = argv[1];
  const std::size_t bytes = std::strtoull(argv[2], nullptr, 10) << 20;
  if (mode == "threads") {
    threads(bytes);
  } else if (mode == "forks") {
    forks(bytes);
  } else if (mode == "spans") {
    spans(bytes);
  } else {
    return 2;
  }
  std::puts("every byte was right");
  return 0;
}
