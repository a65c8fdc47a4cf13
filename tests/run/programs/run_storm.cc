// A program that does to its memory everything that a program may, at random, and checks every byte
// that it reads: what `holdfast run` is tested with. It knows nothing of Holdfast.
//
//   run_storm SEED THREADS OPERATIONS MEBIBYTES [forks]
//
// Each thread has regions of its own, and for each page an identity that makes its content
// (storm_memory.h). After any operation what a page must hold is known. Every system call goes by
// libc or past it, by chance. Exit status: 0 if every byte was right; 1 after a line that says
// which was not; 2 for wrong usage, or a call that was refused where it must not be.
#include <fcntl.h>
#include <sys/uio.h>
#include <sys/wait.h>

#include <algorithm>
#include <array>
#include <iterator>
#include <memory>
#include <mutex>
#include <random>
#include <span>
#include <string>
#include <thread>

#include "storm_memory.h"

namespace storm {
namespace {

std::mutex g_fork;

class Storm {
 public:
  Storm(std::uint64_t seed, std::size_t pages, bool forks)
      : random_(seed), pages_max_(pages), forks_(forks) {}

  void run(std::uint64_t operations) {
    for (std::uint64_t i = 0; i < operations; ++i) step();
    check_all("the end");
  }

 private:
  struct Operation {
    void (Storm::*run)();
    unsigned weight;
  };
  struct Span {
    std::size_t first, count;
  };

  std::uint64_t chance(std::uint64_t below) { return random_() % below; }
  bool raw() { return chance(2) == 0; }

  void step() {
    static constexpr Operation kOperations[] = {
        {&Storm::write_some, 12},
        {&Storm::check_some, 12},
        {&Storm::add_or_remove, 2},
        {&Storm::discard, 2},
        {&Storm::free_lazily, 2},
        {&Storm::advise_harmless, 2},
        {&Storm::advise_refused, 1},
        {&Storm::move, 2},
        {&Storm::move_part, 2},
        {&Storm::move_leaving_it_mapped, 2},
        {&Storm::resize, 2},
        {&Storm::resize_in_place, 2},
        {&Storm::replace_middle, 2},
        {&Storm::unmap_middle, 2},
        {&Storm::protect_and_back, 2},
        {&Storm::hide_or_show, 2},
        {&Storm::lock_and_unlock, 1},
        {&Storm::through_pipe, 2},
        {&Storm::through_disk, 2},
        {&Storm::through_proc, 1},
        {&Storm::through_process_calls, 1},
        {&Storm::fork_and_check, 2},
        {&Storm::fork_with_heritage, 1},
    };
    constexpr std::size_t kForking = 2;
    const auto all = std::span(kOperations).first(std::size(kOperations) - (forks_ ? 0 : kForking));
    if (regions_.empty() || total_ < pages_max_ / 2) return add();
    std::uint64_t weight = 0;
    for (const Operation& each : all) weight += each.weight;
    std::uint64_t left = chance(weight);
    for (const Operation& each : all) {
      if (left < each.weight) return (this->*each.run)();
      left -= each.weight;
    }
  }

  // --- what there is ---

  // One that can be touched: never are all hidden.
  Region& some_region() {
    for (;;) {
      Region& region = regions_[chance(regions_.size())];
      if (!region.hidden) return region;
    }
  }
  Span span(const Region& region) {
    const std::size_t first = chance(region.pages.size());
    const std::size_t most = region.pages.size() - first;
    return {first, 1 + chance(chance(4) == 0 ? most : std::min<std::size_t>(most, 40))};
  }
  void check_all(const char* what) {
    for (Region& region : regions_) {
      show(region);
      for (std::size_t page = 0; page < region.pages.size(); ++page) check_page(what, region, page);
    }
  }
  void show(Region& region) {
    if (region.hidden) protect(raw(), region.memory, region.pages.size(), PROT_READ | PROT_WRITE);
    region.hidden = false;
  }
  void* map_somewhere(std::size_t pages, int flags = 0) {
    void* const got = map(raw(), nullptr, pages, flags);
    if (got == MAP_FAILED) die("mmap");
    return got;
  }
  // Memory that is new at this address, where something else was, must be empty. Another thread may
  // have been faster.
  void check_fresh(void* where, std::size_t count) {
    Region fresh;
    void* const got = map(raw(), where, count, MAP_FIXED_NOREPLACE);
    if (got == MAP_FAILED) return;
    fresh.memory = static_cast<std::uint64_t*>(got);
    fresh.pages.resize(count);
    for (std::size_t i = 0; i < count; i += 1 + chance(20)) {
      check_page("mmap where something was", fresh, i);
    }
    unmap(raw(), got, count);
  }

  // --- touching ---

  void write_some() {
    Region& region = some_region();
    const auto [first, count] = span(region);
    for (std::size_t i = 0; i < count; ++i) write_page(region, first + i);
  }
  void check_some() {
    Region& region = some_region();
    const auto [first, count] = span(region);
    for (std::size_t i = 0; i < count; ++i) check_page("a while", region, first + i);
  }

  // --- mapping and unmapping ---

  void add() {
    Region region;
    const std::size_t count = 1 + chance(pages_max_ / 4);
    const int flags = chance(8) == 0 ? MAP_POPULATE : 0;
    region.memory = static_cast<std::uint64_t*>(map_somewhere(count, flags));
    region.pages.resize(count);
    total_ += count;
    regions_.push_back(std::move(region));
    for (std::size_t page = 0; page < count; ++page) {
      if (chance(4) != 0) write_page(regions_.back(), page);
    }
  }
  void add_or_remove() {
    if (total_ < pages_max_) return add();
    const std::size_t which = chance(regions_.size());
    if (!regions_[which].hidden && visible() < 2) return;
    const Region gone = std::move(regions_[which]);
    regions_.erase(regions_.begin() + static_cast<std::ptrdiff_t>(which));
    unmap(raw(), gone.memory, gone.pages.size());
    total_ -= gone.pages.size();
    check_fresh(gone.memory, gone.pages.size());
  }
  [[nodiscard]] std::size_t visible() const {
    return static_cast<std::size_t>(std::ranges::count(regions_, false, &Region::hidden));
  }

  // Takes a part out of the books; what is left and right of it stay as regions.
  Region cut(Region& whole, Span part) {
    const auto pages = [&](std::size_t first, std::size_t end) {
      return std::vector<Page>(whole.pages.begin() + static_cast<std::ptrdiff_t>(first),
                               whole.pages.begin() + static_cast<std::ptrdiff_t>(end));
    };
    const std::size_t end = part.first + part.count;
    Region taken{.memory = whole.at(part.first), .pages = pages(part.first, end)};
    Region right{.memory = whole.at(end), .pages = pages(end, whole.pages.size())};
    whole.pages.resize(part.first);
    if (whole.pages.empty()) {
      std::swap(whole, regions_.back());
      regions_.pop_back();
    }
    if (!right.pages.empty()) regions_.push_back(std::move(right));
    return taken;
  }

  void unmap_middle() {
    Region& region = some_region();
    if (region.pages.size() < 3) return;
    const Region gone = cut(region, {1, 1 + chance(region.pages.size() - 2)});
    unmap(raw(), gone.memory, gone.pages.size());
    total_ -= gone.pages.size();
    if (chance(2) == 0) check_fresh(gone.memory, gone.pages.size());
  }

  void replace_middle() {
    Region& region = some_region();
    const auto [first, count] = span(region);
    if (map(raw(), region.at(first), count, MAP_FIXED) == MAP_FAILED) die("mmap over it");
    for (std::size_t i = 0; i < count; ++i) {
      region.pages[first + i] = {};
      if (chance(2) == 0) check_page("mapping over it", region, first + i);
      if (chance(3) == 0) write_page(region, first + i);
    }
  }

  // --- advice ---

  void discard() {
    constexpr int kDontNeedLocked = 24;  // MADV_DONTNEED_LOCKED, Linux 5.18
    Region& region = some_region();
    const auto [first, count] = span(region);
    const int advice = chance(4) == 0 ? kDontNeedLocked : MADV_DONTNEED;
    if (advise(raw(), region.at(first), count, advice) != 0) die("madvise");
    for (std::size_t i = 0; i < count; ++i) {
      region.pages[first + i] = {};
      if (chance(3) == 0) check_page("madvise", region, first + i);
      if (chance(3) == 0) write_page(region, first + i);
    }
  }
  void free_lazily() {
    Region& region = some_region();
    const auto [first, count] = span(region);
    if (advise(raw(), region.at(first), count, MADV_FREE) != 0) die("MADV_FREE");
    for (std::size_t i = 0; i < count; ++i) {
      region.pages[first + i].free = true;
      if (chance(3) == 0) check_page("MADV_FREE", region, first + i);
      if (chance(3) == 0) write_page(region, first + i);
    }
  }
  // What changes nothing that can be read, whether the kernel takes it or not.
  void advise_harmless() {
    static constexpr int kAdvice[] = {MADV_NORMAL,
                                      MADV_RANDOM,
                                      MADV_SEQUENTIAL,
                                      MADV_WILLNEED,
                                      MADV_COLD,
                                      MADV_PAGEOUT,
                                      MADV_HUGEPAGE,
                                      MADV_NOHUGEPAGE,
                                      MADV_DONTDUMP,
                                      MADV_DODUMP,
                                      MADV_MERGEABLE,
                                      MADV_UNMERGEABLE,
                                      22 /* MADV_POPULATE_READ */,
                                      23 /* MADV_POPULATE_WRITE */,
                                      25 /* MADV_COLLAPSE */};
    Region& region = some_region();
    const auto [first, count] = span(region);
    advise(raw(), region.at(first), count, kAdvice[chance(std::size(kAdvice))]);
    for (std::size_t i = 0; i < count; i += 1 + chance(8)) {
      check_page("harmless advice", region, first + i);
    }
  }
  // Of a file's pages only: refused, and nothing has happened.
  void advise_refused() {
    Region& region = some_region();
    const auto [first, count] = span(region);
    if (advise(raw(), region.at(first), count, MADV_REMOVE) != EINVAL) die("MADV_REMOVE was taken");
    check_page("MADV_REMOVE", region, first);
  }

  // --- moving and resizing ---

  // A place that is there for the taking, with something on it that must go.
  void* target(std::size_t pages) {
    void* const place = map_somewhere(pages);
    if (chance(2) == 0) std::memset(place, 0x55, kPage);
    return place;
  }
  void resize_books(Region& region, void* now_at, std::size_t now) {
    const std::size_t old = region.pages.size();
    region.memory = static_cast<std::uint64_t*>(now_at);
    region.pages.resize(now);
    total_ += now - old;
    for (std::size_t page = old; page < now; page += 1 + chance(8)) {
      check_page("growing", region, page);
      if (chance(2) == 0) write_page(region, page);
    }
    check_page("mremap", region, chance(now));
  }

  // To a chosen place, with another size or not. A refused call may have unmapped the target, and
  // another thread may be there by now: it is not touched again.
  void move() {
    Region& region = some_region();
    const std::size_t old = region.pages.size();
    const std::size_t now = chance(2) == 0 ? old : 1 + chance(old * 2);
    void* const was = region.memory;
    void* const got = remap(raw(), was, old, now, MREMAP_MAYMOVE | MREMAP_FIXED, target(now));
    if (got == MAP_FAILED) return;
    resize_books(region, got, now);
    if (chance(2) == 0) check_fresh(was, old);
  }
  void move_part() {
    Region& whole = some_region();
    const Span part = span(whole);
    void* const got = remap(raw(), whole.at(part.first), part.count, part.count,
                            MREMAP_MAYMOVE | MREMAP_FIXED, target(part.count));
    if (got == MAP_FAILED) return;
    Region moved = cut(whole, part);
    void* const was = moved.memory;
    moved.memory = static_cast<std::uint64_t*>(got);
    check_page("mremap of a part", moved, chance(part.count));
    regions_.push_back(std::move(moved));
    if (chance(2) == 0) check_fresh(was, part.count);
  }
  void move_leaving_it_mapped() {
    constexpr int kDontUnmap = 4;  // MREMAP_DONTUNMAP
    Region& region = some_region();
    const std::size_t pages = region.pages.size();
    const bool fixed = chance(2) == 0;
    const int flags = MREMAP_MAYMOVE | kDontUnmap | (fixed ? MREMAP_FIXED : 0);
    void* const got =
        remap(raw(), region.memory, pages, pages, flags, fixed ? target(pages) : nullptr);
    if (got == MAP_FAILED) return;
    Region left{.memory = region.memory, .pages = std::vector<Page>(pages)};
    region.memory = static_cast<std::uint64_t*>(got);
    check_page("mremap", region, chance(pages));
    for (std::size_t i = 0; i < pages; i += 1 + chance(20)) {
      check_page("mremap left it empty", left, i);
    }
    unmap(raw(), left.memory, pages);
  }
  void resize() {
    Region& region = some_region();
    const std::size_t now = 1 + chance(region.pages.size() * 2);
    void* const got = remap(raw(), region.memory, region.pages.size(), now, MREMAP_MAYMOVE);
    if (got != MAP_FAILED) resize_books(region, got, now);
  }
  void resize_in_place() {
    Region& region = some_region();
    const std::size_t old = region.pages.size();
    const std::size_t now = chance(2) == 0 ? 1 + chance(old) : old + 1 + chance(64);
    void* const got = remap(raw(), region.memory, old, now, 0);
    if (got == MAP_FAILED) return;
    resize_books(region, got, now);
    if (now < old) check_fresh(region.at(now), old - now);
  }

  // --- protection and locks ---

  void protect_and_back() {
    Region& region = some_region();
    const auto [first, count] = span(region);
    protect(raw(), region.at(first), count, PROT_READ);
    for (std::size_t i = 0; i < count; i += 1 + chance(4)) {
      check_page("mprotect", region, first + i);
    }
    protect(raw(), region.at(first), count, PROT_NONE);
    const bool runs = chance(4) == 0;
    if (runs) protect(raw(), region.at(first), count, PROT_READ | PROT_WRITE | PROT_EXEC);
    if (runs) check_page("mprotect", region, first);
    protect(raw(), region.at(first), count, PROT_READ | PROT_WRITE);
    check_page("mprotect", region, first);
  }
  // For as long as chance will have it.
  void hide_or_show() {
    Region& region = regions_[chance(regions_.size())];
    if (region.hidden) {
      show(region);
      check_page("PROT_NONE", region, chance(region.pages.size()));
    } else if (visible() > 2) {
      protect(raw(), region.memory, region.pages.size(), PROT_NONE);
      region.hidden = true;
    }
  }
  void lock_and_unlock() {
    Region& region = some_region();
    const std::size_t first = chance(region.pages.size());
    const std::size_t count = std::min<std::size_t>(region.pages.size() - first, 16);
    if (::mlock(region.at(first), count * kPage) != 0) return;  // no right to
    check_page("mlock", region, first);
    write_page(region, first + chance(count));
    ::munlock(region.at(first), count * kPage);
    check_page("munlock", region, first + count - 1);
  }

  // --- the kernel at it: memory that may be out ---

  // A page that is what it is, and one to be overwritten as a whole.
  struct Copy {
    Region& region;
    std::size_t from, to;
  };
  Copy choose_copy() {
    Region& region = some_region();
    Copy copy{region, chance(region.pages.size()), chance(region.pages.size())};
    if (region.pages[copy.from].free) write_page(region, copy.from);
    return copy;
  }
  static void copied(const Copy& copy, const char* what) {
    copy.region.pages[copy.to] = copy.region.pages[copy.from];
    check_page(what, copy.region, copy.to);
  }
  void through_pipe() {
    const Copy copy = choose_copy();
    int ends[2];
    if (::pipe(ends) != 0) die("pipe");
    if (::write(ends[1], copy.region.at(copy.from), kPage) != static_cast<ssize_t>(kPage)) {
      die("write");
    }
    if (::read(ends[0], copy.region.at(copy.to), kPage) != static_cast<ssize_t>(kPage)) die("read");
    ::close(ends[0]);
    ::close(ends[1]);
    copied(copy, "a pipe");
  }
  // Past the page cache: the device itself reads and writes the memory.
  void through_disk() {
    const char* const folder = std::getenv("TMPDIR");
    const int file =
        ::open(folder != nullptr ? folder : "/var/tmp", O_TMPFILE | O_RDWR | O_DIRECT, 0600);
    if (file < 0) return;  // this file system has no such files
    const Copy copy = choose_copy();
    const auto page = static_cast<ssize_t>(kPage);
    if (::pwrite(file, copy.region.at(copy.from), kPage, 0) != page) die("pwrite");
    if (::pread(file, copy.region.at(copy.to), kPage, 0) != page) die("pread");
    ::close(file);
    copied(copy, "a file");
  }
  // As another process does it.
  void through_process_calls() {
    const Copy copy = choose_copy();
    alignas(kPage) static thread_local std::array<std::uint64_t, kWords> content;
    const auto page = static_cast<ssize_t>(kPage);
    const iovec here{content.data(), kPage};
    const iovec from{copy.region.at(copy.from), kPage};
    const iovec to{copy.region.at(copy.to), kPage};
    if (::process_vm_readv(::getpid(), &here, 1, &from, 1, 0) != page) die("process_vm_readv");
    if (::process_vm_writev(::getpid(), &here, 1, &to, 1, 0) != page) die("process_vm_writev");
    copied(copy, "process_vm_writev");
  }
  // As a debugger does it. The kernel fetches nothing for those: EIO, or what is right.
  void through_proc() {
    const int memory = ::open("/proc/self/mem", O_RDWR | O_CLOEXEC);
    if (memory < 0) return;
    const Copy copy = choose_copy();
    alignas(kPage) static thread_local std::array<std::uint64_t, kWords> content;
    const auto transfer = [&](auto call, std::size_t at) {
      const ssize_t done =
          call(memory, content.data(), kPage, reinterpret_cast<off_t>(copy.region.at(at)));
      if (done != static_cast<ssize_t>(kPage) && errno != EIO) die("/proc/self/mem");
      return done == static_cast<ssize_t>(kPage);
    };
    if (transfer(::pread, copy.from) && transfer(::pwrite, copy.to)) copied(copy, "/proc/self/mem");
    ::close(memory);
  }

  // --- forks ---

  // In a child: what it was to inherit.
  void inherit() {
    for (Region& region : regions_) {
      if (region.heritage == Heritage::same) continue;
      if (region.heritage == Heritage::none) {
        // Nothing is there, unless somebody was faster.
        void* got = map(raw(), region.memory, region.pages.size(), MAP_FIXED_NOREPLACE);
        if (got == MAP_FAILED) got = map_somewhere(region.pages.size());
        region.memory = static_cast<std::uint64_t*>(got);
        region.heritage = Heritage::same;
      }
      region.pages.assign(region.pages.size(), {});
    }
  }
  [[noreturn]] void be_child() {
    inherit();
    for (int i = 0; i < 6; ++i) {
      check_some();
      write_some();
      if (chance(3) == 0) discard();
      if (chance(4) == 0) resize();
    }
    check_all("a fork, in the child");
    if (chance(8) != 0) ::_exit(0);
    const pid_t grandchild = ::fork();
    if (grandchild == 0) {
      inherit();
      check_all("a fork in a fork");
      ::_exit(0);
    }
    int status = 0;
    ::waitpid(grandchild, &status, 0);
    ::_exit(status == 0 ? 0 : 1);
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
    if (child == 0) be_child();
    for (int i = 0; i < 4; ++i) {
      write_some();
      check_some();
    }
    int status = 0;
    if (::waitpid(child, &status, 0) != child) die("waitpid");
    if (status != 0) {
      std::printf("WRONG: a child ended with %d\n", status);
      end_with(1);
    }
    check_some();
  }
  void fork_with_heritage() {
    const std::size_t which = chance(regions_.size());
    show(regions_[which]);
    const bool none = chance(2) == 0;
    const auto all_of_it = [&](int advice) {
      if (advise(raw(), regions_[which].memory, regions_[which].pages.size(), advice) != 0) {
        die("advice for forks");
      }
    };
    all_of_it(none ? MADV_DONTFORK : MADV_WIPEONFORK);
    regions_[which].heritage = none ? Heritage::none : Heritage::zeros;
    fork_and_check();
    all_of_it(none ? MADV_DOFORK : MADV_KEEPONFORK);
    regions_[which].heritage = Heritage::same;
  }

  std::mt19937_64 random_;
  std::size_t pages_max_;
  bool forks_;
  std::size_t total_ = 0;
  std::vector<Region> regions_;
};

}  // namespace
}  // namespace storm

int main(int argc, char** argv) {
  if (argc < 5) return 2;
  const std::uint64_t seed = std::strtoull(argv[1], nullptr, 10);
  const unsigned threads = static_cast<unsigned>(std::atoi(argv[2]));
  const std::uint64_t operations = std::strtoull(argv[3], nullptr, 10);
  const std::size_t pages = std::strtoull(argv[4], nullptr, 10) * 256 / threads;
  const bool forks = argc > 5;
  std::vector<std::thread> running;
  for (unsigned i = 0; i < threads; ++i) {
    running.emplace_back([=] { storm::Storm(seed * 1000 + i, pages, forks).run(operations); });
  }
  for (std::thread& each : running) each.join();
  std::puts("every byte was right");
  return 0;
}
