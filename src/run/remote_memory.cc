#include "run/remote_memory.h"

#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>

#include "run/pagemap.h"

namespace holdfast::run {
namespace {

constexpr std::uint64_t kFeatures = UFFD_FEATURE_EVENT_FORK | UFFD_FEATURE_EVENT_REMAP |
                                    UFFD_FEATURE_EVENT_REMOVE | UFFD_FEATURE_EVENT_UNMAP |
                                    UFFD_FEATURE_THREAD_ID | UFFD_FEATURE_PAGEFAULT_FLAG_WP;

Entered entered(int result, std::int64_t field) noexcept {
  if (field > 0) return {static_cast<std::uint64_t>(field), result == 0 ? 0 : EAGAIN};
  return {0, field < 0 ? static_cast<int>(-field) : errno};
}

}  // namespace

RemoteMemory::~RemoteMemory() {
  if (pagemap_ >= 0) ::close(pagemap_);
  if (userfault_ >= 0) ::close(userfault_);
}

int RemoteMemory::agree() noexcept {
  uffdio_api api{};
  api.api = UFFD_API;
  api.features = kFeatures;
  return ::ioctl(userfault_, UFFDIO_API, &api) == 0 ? 0 : errno;
}

int RemoteMemory::attach(int pid) noexcept {
  std::array<char, 64> path;
  std::snprintf(path.data(), path.size(), "/proc/%d/pagemap", pid);
  const int file = ::open(path.data(), O_RDONLY | O_CLOEXEC);
  if (file < 0) return errno;
  if (pagemap_ >= 0) ::close(pagemap_);
  pagemap_ = file;
  pid_ = pid;
  return 0;
}

int RemoteMemory::register_range(Range range) const noexcept {
  uffdio_register argument{};
  argument.range = {.start = range.start, .len = range.bytes()};
  argument.mode = UFFDIO_REGISTER_MODE_MISSING | UFFDIO_REGISTER_MODE_WP;
  return ::ioctl(userfault_, UFFDIO_REGISTER, &argument) == 0 ? 0 : errno;
}

int RemoteMemory::register_for_protection(Range range) const noexcept {
  uffdio_register argument{};
  argument.range = {.start = range.start, .len = range.bytes()};
  argument.mode = UFFDIO_REGISTER_MODE_WP;
  return ::ioctl(userfault_, UFFDIO_REGISTER, &argument) == 0 ? 0 : errno;
}

int RemoteMemory::protect(Range range, bool on) const noexcept {
  uffdio_writeprotect argument{};
  argument.range = {.start = range.start, .len = range.bytes()};
  argument.mode = on ? UFFDIO_WRITEPROTECT_MODE_WP : 0;
  return ::ioctl(userfault_, UFFDIO_WRITEPROTECT, &argument) == 0 ? 0 : errno;
}

bool RemoteMemory::Other::has(Address page) const noexcept {
  uffdio_writeprotect argument{};
  argument.range = {.start = page, .len = kPageSize};
  argument.mode = UFFDIO_WRITEPROTECT_MODE_DONTWAKE;
  return ::ioctl(userfault, UFFDIO_WRITEPROTECT, &argument) == 0;
}

Entered RemoteMemory::copy(Address to, const std::byte* from, std::uint64_t bytes) const noexcept {
  uffdio_copy argument{};
  argument.dst = to;
  argument.src = reinterpret_cast<std::uintptr_t>(from);
  argument.len = bytes;
  const int result = ::ioctl(userfault_, UFFDIO_COPY, &argument);
  return entered(result, argument.copy);
}

Entered RemoteMemory::zero(Address to, std::uint64_t bytes) const noexcept {
  uffdio_zeropage argument{};
  argument.range = {.start = to, .len = bytes};
  const int result = ::ioctl(userfault_, UFFDIO_ZEROPAGE, &argument);
  return entered(result, argument.zeropage);
}

void RemoteMemory::wake(Address page) const noexcept {
  uffdio_range range{.start = page, .len = kPageSize};
  ::ioctl(userfault_, UFFDIO_WAKE, &range);
}

bool RemoteMemory::alive() const noexcept {
  // The lowest page is never mapped: the answer is ENOENT, or ESRCH with nobody left to ask.
  const Entered answer = zero(kPageSize, kPageSize);
  return answer.error != ESRCH;
}

std::size_t RemoteMemory::read(std::span<uffd_msg> messages) const noexcept {
  const ssize_t bytes = ::read(userfault_, messages.data(), messages.size_bytes());
  return bytes <= 0 ? 0 : static_cast<std::size_t>(bytes) / sizeof(uffd_msg);
}

bool RemoteMemory::present(Range range, std::vector<Range>& runs, Count count) const noexcept {
  std::array<PagemapRun, 256> found;
  while (range.start < range.end) {
    PagemapScan scan{};
    scan.size = sizeof scan;
    scan.start = range.start;
    scan.end = range.end;
    scan.vector = reinterpret_cast<std::uintptr_t>(found.data());
    scan.vector_length = found.size();
    const std::uint64_t kinds =
        count == Count::all_there_is ? kPageIsPresent | kPageIsSwapped : kPageIsPresent;
    scan.inverted = kPageIsFile | kPageIsZero;
    scan.all_of = kPageIsFile | kPageIsZero;
    scan.any_of = kinds;
    scan.wanted = kinds;
    const int result = ::ioctl(pagemap_, kPagemapScan, &scan);
    if (result < 0) return false;
    for (int i = 0; i < result; ++i) {
      const PagemapRun& run = found[static_cast<std::size_t>(i)];
      runs.push_back({run.start, run.end});
    }
    range.start = scan.walk_end;
  }
  return true;
}

int RemoteMemory::read_out(int thread, std::span<const Piece> pieces) noexcept {
  constexpr std::size_t kAtOnce = 256;
  std::array<iovec, kAtOnce> here;
  std::array<iovec, kAtOnce> there;
  while (!pieces.empty()) {
    const std::size_t count = std::min(pieces.size(), kAtOnce);
    std::uint64_t bytes = 0;
    for (std::size_t i = 0; i < count; ++i) {
      here[i] = {.iov_base = pieces[i].to, .iov_len = pieces[i].bytes};
      there[i] = {.iov_base = reinterpret_cast<void*>(pieces[i].from), .iov_len = pieces[i].bytes};
      bytes += pieces[i].bytes;
    }
    const ssize_t got = ::process_vm_readv(thread, here.data(), count, there.data(), count, 0);
    if (got < 0) return errno;
    if (static_cast<std::uint64_t>(got) != bytes) return EFAULT;
    pieces = pieces.subspan(count);
  }
  return 0;
}

}  // namespace holdfast::run
