// Has children that are to inherit less than there is: what `holdfast run` is tested with.
//
//   run_heirs MEBIBYTES ROUNDS killed|changing
//
// In each round a process fills memory, of which its child is to have a part empty
// (MADV_WIPEONFORK), a part not at all (MADV_DONTFORK), and the rest; forks; and the child looks.
//
//   killed    the parent is killed as soon as there is a child
//   changing  another thread changes its mind all the time about what is inherited; what the child
//             has must be as it was at one moment
//
// Exit status: 0 if every byte was right; 1 after a line that says what was not; 2 otherwise.
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <thread>

namespace {

constexpr std::size_t kPage = 4096;
constexpr std::size_t kWords = kPage / 8;
constexpr int kWipeOnFork = 18;
constexpr int kKeepOnFork = 19;

std::uint64_t value(std::uint64_t part, std::uint64_t page, std::uint64_t i) {
  std::uint64_t x = part * 0x9e3779b97f4a7c15ULL + page * kWords + i + 1;
  x ^= x >> 29;
  x *= 0xbf58476d1ce4e5b9ULL;
  return x ^ x >> 32;
}

// kept | absent, side by side so that the one can grow over the other; and wiped, apart.
struct Parts {
  std::size_t bytes;  // of each
  std::uint64_t* kept;
  std::uint64_t* absent;
  std::uint64_t* wiped;

  static std::uint64_t* map(std::size_t bytes) {
    void* const got =
        ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (got == MAP_FAILED) ::_exit(2);
    return static_cast<std::uint64_t*>(got);
  }
  // Above them is a gap: what a child maps goes there, and not to what is absent.
  explicit Parts(std::size_t each) : bytes(each) {
    constexpr std::size_t kGap = std::size_t{32} << 20;
    void* const gap = map(kGap);
    kept = map(2 * each);
    absent = kept + each / sizeof *kept;
    wiped = map(each);
    ::munmap(gap, kGap);
    fill(1, kept);
    fill(2, absent);
    fill(3, wiped);
  }
  void fill(std::uint64_t part, std::uint64_t* words) const {
    for (std::size_t page = 0; page < bytes / kPage; ++page) {
      for (std::size_t i = 0; i < kWords; ++i) words[page * kWords + i] = value(part, page, i);
    }
  }
  void advise(bool inherits) const {
    if (::madvise(absent, bytes, inherits ? MADV_DOFORK : MADV_DONTFORK) != 0 ||
        ::madvise(wiped, bytes, inherits ? kKeepOnFork : kWipeOnFork) != 0) {
      ::_exit(2);
    }
  }

  // part 0: zeros.
  void check(const char* what, std::uint64_t part, const std::uint64_t* words) const {
    for (std::size_t page = 0; page < bytes / kPage; ++page) {
      for (std::size_t i = 0; i < kWords; ++i) {
        const std::uint64_t is = words[page * kWords + i];
        const std::uint64_t must = part == 0 ? 0 : value(part, page, i);
        if (is == must) continue;
        std::printf("WRONG: %s, page %zu word %zu is %016llx, not %016llx\n", what, page, i,
                    static_cast<unsigned long long>(is), static_cast<unsigned long long>(must));
        std::fflush(stdout);
        ::_exit(1);
      }
    }
  }
  [[nodiscard]] bool grow() const { return ::mremap(kept, bytes, 2 * bytes, 0) != MAP_FAILED; }
  // In a child.
  void check_all() const {
    const bool was_absent = grow();
    check("what was not inherited", was_absent ? 0 : 2, absent);
    check("what was to be empty", wiped[0] == 0 ? 0 : 3, wiped);
    check("what was inherited", 1, kept);
  }
};

// Whether the process has a child.
bool has_child(pid_t pid) {
  const std::string id = std::to_string(pid);
  std::FILE* const file = std::fopen(("/proc/" + id + "/task/" + id + "/children").c_str(), "r");
  if (file == nullptr) return false;
  int child = 0;
  const bool has = std::fscanf(file, "%d", &child) == 1;
  std::fclose(file);
  return has;
}

// 0: the child has found all as it must be.
int orphan(std::size_t bytes) {
  int ends[2];
  if (::pipe(ends) != 0) return 2;
  const pid_t parent = ::fork();
  if (parent == 0) {
    const Parts parts(bytes);
    parts.advise(false);
    if (::fork() == 0) {
      if (!parts.grow()) ::_exit(2);
      parts.check("what was not inherited", 0, parts.absent);
      parts.check("what was to be empty", 0, parts.wiped);
      parts.check("what was inherited", 1, parts.kept);
      if (::write(ends[1], "+", 1) != 1) ::_exit(2);
      ::_exit(0);
    }
    for (;;) ::pause();
  }
  ::close(ends[1]);
  while (!has_child(parent)) {
  }
  ::kill(parent, SIGKILL);
  ::waitpid(parent, nullptr, 0);
  char said = 0;
  const bool right = ::read(ends[0], &said, 1) == 1;
  ::close(ends[0]);
  if (!right) std::puts("WRONG: a child of a killed parent ended before it had looked");
  return right ? 0 : 1;
}

int change(std::size_t bytes, std::uint64_t rounds) {
  const Parts parts(bytes);
  std::atomic<bool> ends{false};
  std::thread other([&] {
    for (bool inherits = false; !ends.load(); inherits = !inherits) parts.advise(inherits);
  });
  int worst = 0;
  for (std::uint64_t i = 0; i < rounds && worst == 0; ++i) {
    const pid_t child = ::fork();
    if (child == 0) {
      parts.check_all();
      ::_exit(0);
    }
    int status = 0;
    if (::waitpid(child, &status, 0) != child || status != 0) worst = 1;
  }
  ends.store(true);
  other.join();
  return worst;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 4) return 2;
  const std::size_t bytes = (std::strtoull(argv[1], nullptr, 10) << 20) / 3 / kPage * kPage;
  const std::uint64_t rounds = std::strtoull(argv[2], nullptr, 10);
  if (std::strcmp(argv[3], "changing") == 0) return change(bytes, rounds);
  for (std::uint64_t i = 0; i < rounds; ++i) {
    if (const int said = orphan(bytes); said != 0) return said;
  }
  return 0;
}
