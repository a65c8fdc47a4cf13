// The model of run_storm: what each page of its memory must hold, and the system calls that change
// memory, by libc or past it.
#pragma once

#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

namespace storm {

inline constexpr std::size_t kPage = 4096;
inline constexpr std::size_t kWords = kPage / sizeof(std::uint64_t);

inline std::uint64_t mix(std::uint64_t x) {
  x ^= x >> 31;
  x *= 0x9e3779b97f4a7c15ULL;
  x ^= x >> 29;
  return x;
}

// Word i of a page. A third of the pages compress well, a third not at all, a third are one word.
inline std::uint64_t word(std::uint64_t identity, std::uint64_t i) {
  if (identity == 0) return 0;
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
  bool free = false;           // after MADV_FREE: zeros as soon as the kernel pleases
};

// What a region is in the child of a fork.
enum class Heritage { same, zeros, none };

struct Region {
  std::uint64_t* memory = nullptr;
  std::vector<Page> pages;
  bool hidden = false;  // PROT_NONE
  Heritage heritage = Heritage::same;

  [[nodiscard]] std::uint64_t* at(std::size_t page) const { return memory + page * kWords; }
  [[nodiscard]] std::size_t bytes() const { return pages.size() * kPage; }
};

inline std::atomic<std::uint64_t> g_identity{1};

[[noreturn]] inline void end_with(int status) {
  std::fflush(stdout);
  ::_exit(status);
}

[[noreturn]] inline void wrong(const char* what, const Region& region, std::size_t page,
                               std::size_t at) {
  const std::uint64_t identity = region.pages[page].identity;
  std::printf("WRONG after %s: pid %d address %p page %zu word %zu is %016llx, not %016llx\n", what,
              static_cast<int>(::getpid()), static_cast<void*>(region.at(page) + at), page, at,
              static_cast<unsigned long long>(region.at(page)[at]),
              static_cast<unsigned long long>(word(identity, at)));
  end_with(1);
}

inline void die(const char* what) {
  std::printf("%s: %s\n", what, std::strerror(errno));
  end_with(2);
}

inline void write_page(Region& region, std::size_t page) {
  const std::uint64_t identity = g_identity.fetch_add(1);
  std::uint64_t* const words = region.at(page);
  for (std::size_t i = 0; i < kWords; ++i) words[i] = word(identity, i);
  region.pages[page] = {.identity = identity, .free = false};
}

// The first word that is not as the identity says; kWords: none.
inline std::size_t first_wrong(const std::uint64_t* words, std::uint64_t identity) {
  for (std::size_t i = 0; i < kWords; ++i) {
    if (const_cast<const volatile std::uint64_t*>(words)[i] != word(identity, i)) return i;
  }
  return kWords;
}

inline void check_page(const char* what, Region& region, std::size_t page) {
  Page& must = region.pages[page];
  const std::size_t at = first_wrong(region.at(page), must.identity);
  if (at == kWords) return;
  if (!must.free) wrong(what, region, page, at);
  must = {};  // it was free to go, and has gone: as a whole, and for good
  const std::size_t left = first_wrong(region.at(page), 0);
  if (left != kWords) wrong(what, region, page, left);
}

// --- memory's system calls; raw: not by libc's function for it ---

inline void* map(bool raw, void* where, std::size_t pages, int flags) {
  constexpr int kAccess = PROT_READ | PROT_WRITE;
  flags |= MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
  if (!raw) return ::mmap(where, pages * kPage, kAccess, flags, -1, 0);
  return reinterpret_cast<void*>(
      ::syscall(SYS_mmap, where, pages * kPage, kAccess, flags, -1L, 0L));
}
inline void unmap(bool raw, void* where, std::size_t pages) {
  const long result = raw ? ::syscall(SYS_munmap, where, pages * kPage)  //
                          : ::munmap(where, pages * kPage);
  if (result != 0) die("munmap");
}
inline void protect(bool raw, void* where, std::size_t pages, int access) {
  const long result = raw ? ::syscall(SYS_mprotect, where, pages * kPage, access)
                          : ::mprotect(where, pages * kPage, access);
  if (result != 0) die("mprotect");
}
// 0 or errno.
inline int advise(bool raw, void* where, std::size_t pages, int advice) {
  const long result = raw ? ::syscall(SYS_madvise, where, pages * kPage, advice)
                          : ::madvise(where, pages * kPage, advice);
  return result == 0 ? 0 : errno;
}
// Asked to grow in place to more than there is.
inline bool is_one_mapping(void* from, std::size_t pages) {
  constexpr std::size_t kEverything = (std::size_t{1} << 47) - kPage;
  return ::syscall(SYS_mremap, from, pages * kPage, kEverything, 0, nullptr) != -1 ||
         errno != EFAULT;
}
// MAP_FAILED where the kernel refuses what it may refuse: no room, or more than one mapping. To a
// chosen place it moves a part before it refuses the next mapping: that is done by libc, which the
// shim knows.
inline void* remap(bool raw, void* from, std::size_t pages, std::size_t pages_then, int flags,
                   void* to = nullptr) {
  raw = raw && ((flags & MREMAP_FIXED) == 0 || is_one_mapping(from, pages));
  void* const got = raw ? reinterpret_cast<void*>(::syscall(SYS_mremap, from, pages * kPage,
                                                            pages_then * kPage, flags, to))
                        : ::mremap(from, pages * kPage, pages_then * kPage, flags, to);
  if (got == MAP_FAILED && errno != EFAULT && errno != ENOMEM) die("mremap");
  return got;
}

}  // namespace storm
