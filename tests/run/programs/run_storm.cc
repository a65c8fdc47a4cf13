// A program that does to its memory everything that a program may, at random, and checks every byte
// that it reads: what `holdfast run` is tested with. It knows nothing of Holdfast.
//
//   run_storm SEED THREADS OPERATIONS MEBIBYTES [forks]
//
// Each thread has regions of its own, and for each page a version: 0 means zeros, anything else a
// pattern made of the page's number in its region, the version and the thread. After any operation
// what a page must hold is known. Exit status: 0 if every byte was right; 1 after a line that says
// which was not; 2 for wrong usage.
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <random>
#include <thread>
#include <vector>

namespace {

constexpr std::size_t kPage = 4096;
constexpr std::size_t kWords = kPage / sizeof(std::uint64_t);

std::uint64_t mix(std::uint64_t x) {
  x ^= x >> 31;
  x *= 0x9e3779b97f4a7c15ULL;
  x ^= x >> 29;
  return x;
}

// Word i of a page. A third of the pages compress well, a third not at all, a third are one word.
std::uint64_t word(std::uint64_t identity, std::uint64_t i) {
  switch (identity % 3) {
    case 0:
      return mix(identity) + (i & 7);
    case 1:
      return mix(identity * kWords + i);
    default:
      return mix(identity) >> 8;
  }
}

struct Page {
  std::uint64_t identity = 0;  // 0: zeros
};

struct Region {
  std::uint64_t* memory = nullptr;
  std::vector<Page> pages;
};

// Forks wait until no other thread is inside of a change of its own books.
std::mutex g_fork;
std::atomic<std::uint64_t> g_identity{1};

[[noreturn]] void wrong(const char* what, const Region& region, std::size_t page, std::size_t at,
                        std::uint64_t is, std::uint64_t must) {
  std::printf("WRONG after %s: pid %d address %p page %zu word %zu is %016llx, not %016llx\n", what,
              static_cast<int>(::getpid()), static_cast<void*>(region.memory + page * kWords + at),
              page, at, static_cast<unsigned long long>(is), static_cast<unsigned long long>(must));
  std::fflush(stdout);
  ::_exit(1);
}

void die(const char* what) {
  std::printf("%s: %s\n", what, std::strerror(errno));
  std::fflush(stdout);
  ::_exit(2);
}

class Storm {
 public:
  Storm(std::uint64_t seed, std::size_t pages, bool forks)
      : random_(seed), pages_max_(pages), forks_(forks) {}

  void run(std::uint64_t operations) {
    for (std::uint64_t i = 0; i < operations; ++i) step();
    check_all("the end");
  }

 private:
  std::uint64_t chance(std::uint64_t below) { return random_() % below; }

  void* map_at(void* where, std::size_t pages, int flags) {
    void* const got = ::mmap(where, pages * kPage, PROT_READ | PROT_WRITE,
                             MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | flags, -1, 0);
    if (got == MAP_FAILED) die("mmap");
    return got;
  }

  void write_page(Region& region, std::size_t page) {
    const std::uint64_t identity = g_identity.fetch_add(1);
    std::uint64_t* const words = region.memory + page * kWords;
    for (std::size_t i = 0; i < kWords; ++i) words[i] = word(identity, i);
    region.pages[page].identity = identity;
  }

  static void check_words(const char* what, const Region& region, std::size_t page,
                          const std::uint64_t* words) {
    const std::uint64_t identity = region.pages[page].identity;
    for (std::size_t i = 0; i < kWords; ++i) {
      const std::uint64_t must = identity == 0 ? 0 : word(identity, i);
      const std::uint64_t is = const_cast<const volatile std::uint64_t*>(words)[i];
      if (is != must) wrong(what, region, page, i, is, must);
    }
  }
  static void check_page(const char* what, const Region& region, std::size_t page) {
    check_words(what, region, page, region.memory + page * kWords);
  }
  void check_all(const char* what) {
    for (const Region& region : regions_) {
      for (std::size_t page = 0; page < region.pages.size(); ++page) check_page(what, region, page);
    }
  }

  Region& some_region() { return regions_[chance(regions_.size())]; }
  void span(const Region& region, std::size_t& first, std::size_t& count) {
    first = chance(region.pages.size());
    const std::size_t most = region.pages.size() - first;
    count = 1 + chance(chance(4) == 0 ? most : std::min<std::size_t>(most, 40));
  }

  void step() {
    if (regions_.empty() || total_ < pages_max_ / 2) return add();
    switch (chance(forks_ ? 20 : 19)) {
      case 0:
        return total_ < pages_max_ ? add() : remove();
      case 1:
        return discard();
      case 2:
        return move();
      case 3:
        return resize();
      case 4:
        return replace_middle();
      case 5:
        return protect();
      case 6:
        return through_pipe();
      case 7:
        return move_leaving_it_mapped();
      case 19:
        return fork_and_check();
      default:
        return chance(2) == 0 ? write_some() : check_some();
    }
  }

  void add() {
    Region region;
    const std::size_t count = 1 + chance(pages_max_ / 4);
    region.memory = static_cast<std::uint64_t*>(map_at(nullptr, count, 0));
    region.pages.resize(count);
    total_ += count;
    regions_.push_back(std::move(region));
    for (std::size_t page = 0; page < count; ++page) {
      if (chance(4) != 0) write_page(regions_.back(), page);
    }
  }

  void remove() {
    const std::size_t which = chance(regions_.size());
    Region& region = regions_[which];
    if (::munmap(region.memory, region.pages.size() * kPage) != 0) die("munmap");
    total_ -= region.pages.size();
    regions_.erase(regions_.begin() + static_cast<std::ptrdiff_t>(which));
  }

  void write_some() {
    Region& region = some_region();
    std::size_t first = 0;
    std::size_t count = 0;
    span(region, first, count);
    for (std::size_t i = 0; i < count; ++i) write_page(region, first + i);
  }

  void check_some() {
    Region& region = some_region();
    std::size_t first = 0;
    std::size_t count = 0;
    span(region, first, count);
    for (std::size_t i = 0; i < count; ++i) check_page("a while", region, first + i);
  }

  void discard() {
    Region& region = some_region();
    std::size_t first = 0;
    std::size_t count = 0;
    span(region, first, count);
    // Through libc, or past it.
    void* const at = region.memory + first * kWords;
    const long result = chance(2) == 0 ? ::madvise(at, count * kPage, MADV_DONTNEED)
                                       : ::syscall(SYS_madvise, at, count * kPage, MADV_DONTNEED);
    if (result != 0) die("madvise");
    for (std::size_t i = 0; i < count; ++i) {
      region.pages[first + i].identity = 0;
      if (chance(3) == 0) check_page("madvise", region, first + i);
      if (chance(3) == 0) write_page(region, first + i);
    }
  }

  void move() {
    Region& region = some_region();
    const std::size_t bytes = region.pages.size() * kPage;
    void* const target = map_at(nullptr, region.pages.size(), 0);
    if (chance(2) == 0) std::memset(target, 0x55, kPage);  // what it covers must go
    void* const got = ::mremap(region.memory, bytes, bytes, MREMAP_MAYMOVE | MREMAP_FIXED, target);
    if (got == MAP_FAILED) {
      if (errno != EFAULT) die("mremap");  // EFAULT: more than one mapping
      ::munmap(target, bytes);
      return;
    }
    void* const old = region.memory;
    region.memory = static_cast<std::uint64_t*>(got);
    check_page("mremap", region, chance(region.pages.size()));
    if (chance(2) != 0) return;
    // Something new where it was must be empty.
    Region fresh;
    fresh.memory = static_cast<std::uint64_t*>(
        ::mmap(old, bytes, PROT_READ | PROT_WRITE,
               MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE, -1, 0));
    if (fresh.memory == MAP_FAILED) return;  // another thread was faster
    fresh.pages.resize(region.pages.size());
    for (std::size_t i = 0; i < fresh.pages.size(); i += 1 + chance(20)) {
      check_page("mmap where something was", fresh, i);
    }
    ::munmap(fresh.memory, bytes);
  }

  void move_leaving_it_mapped() {
    Region& region = some_region();
    const std::size_t bytes = region.pages.size() * kPage;
    constexpr int kDontUnmap = 4;
    void* const got = ::mremap(region.memory, bytes, bytes, MREMAP_MAYMOVE | kDontUnmap, nullptr);
    if (got == MAP_FAILED) return;  // more than one mapping
    Region left;
    left.memory = region.memory;
    left.pages.resize(region.pages.size());
    region.memory = static_cast<std::uint64_t*>(got);
    check_page("mremap", region, chance(region.pages.size()));
    for (std::size_t i = 0; i < left.pages.size(); i += 1 + chance(20)) {
      check_page("mremap left it empty", left, i);
    }
    ::munmap(left.memory, bytes);
  }

  void resize() {
    Region& region = some_region();
    const std::size_t old = region.pages.size();
    const std::size_t now = 1 + chance(old * 2);
    void* const got = ::mremap(region.memory, old * kPage, now * kPage, MREMAP_MAYMOVE);
    if (got == MAP_FAILED) {
      if (errno == EFAULT) return;  // more than one mapping
      die("mremap to another size");
    }
    region.memory = static_cast<std::uint64_t*>(got);
    region.pages.resize(now);
    total_ += now - old;
    for (std::size_t page = old; page < now; page += 1 + chance(8)) {
      check_page("growing", region, page);
      if (chance(2) == 0) write_page(region, page);
    }
    check_page("another size", region, chance(now));
  }

  void replace_middle() {
    Region& region = some_region();
    std::size_t first = 0;
    std::size_t count = 0;
    span(region, first, count);
    void* const at = region.memory + first * kWords;
    map_at(at, count, MAP_FIXED);
    for (std::size_t i = 0; i < count; ++i) {
      region.pages[first + i].identity = 0;
      if (chance(2) == 0) check_page("mapping over it", region, first + i);
      if (chance(3) == 0) write_page(region, first + i);
    }
  }

  void protect() {
    Region& region = some_region();
    std::size_t first = 0;
    std::size_t count = 0;
    span(region, first, count);
    void* const at = region.memory + first * kWords;
    if (::mprotect(at, count * kPage, PROT_READ) != 0) die("mprotect");
    for (std::size_t i = 0; i < count; i += 1 + chance(4)) {
      check_page("mprotect", region, first + i);
    }
    if (::mprotect(at, count * kPage, PROT_NONE) != 0) die("mprotect");
    if (::mprotect(at, count * kPage, PROT_READ | PROT_WRITE) != 0) die("mprotect");
    check_page("mprotect", region, first);
  }

  // System calls into memory that may be out.
  void through_pipe() {
    Region& region = some_region();
    const std::size_t from = chance(region.pages.size());
    const std::size_t to = chance(region.pages.size());
    int ends[2];
    if (::pipe(ends) != 0) die("pipe");
    if (::write(ends[1], region.memory + from * kWords, kPage) != static_cast<ssize_t>(kPage)) {
      die("write");
    }
    if (::read(ends[0], region.memory + to * kWords, kPage) != static_cast<ssize_t>(kPage)) {
      die("read");
    }
    ::close(ends[0]);
    ::close(ends[1]);
    region.pages[to] = region.pages[from];
    check_page("a pipe", region, to);
  }

  // The child checks all that this thread has, rewrites some, checks again; the parent rewrites
  // meanwhile.
  void fork_and_check() {
    pid_t child = 0;
    {
      const std::lock_guard lock(g_fork);
      std::fflush(stdout);
      child = ::fork();
    }
    if (child < 0) die("fork");
    if (child == 0) {
      for (int i = 0; i < 6; ++i) {
        check_some();
        write_some();
        if (chance(3) == 0) discard();
        if (chance(4) == 0) resize();
      }
      check_all("a fork, in the child");
      if (chance(8) == 0) {
        const pid_t grandchild = ::fork();
        if (grandchild == 0) {
          check_all("a fork in a fork");
          ::_exit(0);
        }
        int status = 0;
        ::waitpid(grandchild, &status, 0);
        if (status != 0) ::_exit(1);
      }
      ::_exit(0);
    }
    for (int i = 0; i < 4; ++i) {
      write_some();
      check_some();
    }
    int status = 0;
    if (::waitpid(child, &status, 0) != child) die("waitpid");
    if (status != 0) {
      std::printf("WRONG: a child ended with %d\n", status);
      std::fflush(stdout);
      ::_exit(1);
    }
    check_some();
  }

  std::mt19937_64 random_;
  std::size_t pages_max_;
  bool forks_;
  std::size_t total_ = 0;
  std::vector<Region> regions_;
};

}  // namespace

int main(int argc, char** argv) {
  if (argc < 5) return 2;
  const std::uint64_t seed = std::strtoull(argv[1], nullptr, 10);
  const unsigned threads = static_cast<unsigned>(std::atoi(argv[2]));
  const std::uint64_t operations = std::strtoull(argv[3], nullptr, 10);
  const std::size_t pages = std::strtoull(argv[4], nullptr, 10) * 256 / threads;
  const bool forks = argc > 5;
  std::vector<std::thread> running;
  for (unsigned i = 0; i < threads; ++i) {
    running.emplace_back([=] { Storm(seed * 1000 + i, pages, forks).run(operations); });
  }
  for (std::thread& each : running) each.join();
  std::puts("every byte was right");
  return 0;
}
