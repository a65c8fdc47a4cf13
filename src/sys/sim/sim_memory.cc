#include "sys/sim/sim_memory.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstring>

namespace holdfast::sys {
namespace {

// 35 to 70 TiB: in user space, where Linux maps nothing by itself and no sanitizer has its shadow.
constexpr Address kFakeBegin = 0x2000'0000'0000;
constexpr Address kFakeEnd = 0x4000'0000'0000;
constexpr std::uint64_t kGap = 64 * kPageSize;  // between reservations: running over is caught

Address reserve_host(std::uint64_t bytes, std::uint64_t align) {
  const std::uint64_t slack = align > kPageSize ? align : 0;
  void* memory = mmap(nullptr, bytes + slack, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) return 0;
  const auto start = reinterpret_cast<Address>(memory);
  const Address aligned = round_up(start, align);
  if (aligned > start) munmap(memory, aligned - start);
  const Address end = aligned + bytes;
  if (start + bytes + slack > end)
    munmap(reinterpret_cast<void*>(end), start + bytes + slack - end);
  return aligned;
}

}  // namespace

bool SimMemory::is_fake(Address address) noexcept {
  return address >= kFakeBegin && address < kFakeEnd;
}

SimMemory::~SimMemory() {
  for (std::byte* ghost : ghosts_) {
    if (ghost != nullptr) give_sim_page(ghost);
  }
  for (const auto& range : reserved_.all()) {
    if (range.value == Purpose::table) {
      munmap(reinterpret_cast<void*>(range.begin), range.end - range.begin);
    }
  }
}

Address SimMemory::reserve(std::uint64_t bytes, std::uint64_t align, Purpose purpose) {
  HF_CHECK2(bytes > 0 && is_page_aligned(bytes), bytes, align);
  HF_CHECK2(align >= kPageSize && (align & (align - 1)) == 0, bytes, align);
  Address address = 0;
  if (purpose == Purpose::table) {
    address = reserve_host(bytes, align);
    if (address == 0) return 0;
    HF_CHECK(!is_fake(address));
  } else {
    address = round_up(kFakeBegin + next_fake_, align);
    if (bytes > kFakeEnd - address) return 0;
    next_fake_ = address + bytes + kGap - kFakeBegin;
  }
  reserved_.add(address, address + bytes, purpose);
  return address;
}

void SimMemory::release(Address address, std::uint64_t bytes) {
  HF_CHECK2(is_reserved(address, bytes), address, bytes);
  if (is_fake(address)) {
    drop_pages(address, bytes);
  } else {
    HF_CHECK(munmap(reinterpret_cast<void*>(address), bytes) == 0);
  }
  reserved_.cut(address, address + bytes);
}

std::uint64_t SimMemory::discard(Address address, std::uint64_t bytes) {
  HF_CHECK2(is_reserved(address, bytes), address, bytes);
  if (is_fake(address)) return drop_pages(address, bytes);
  constexpr std::uint64_t kClearedByHand = 16 * kPageSize;  // below, a system call costs more
  auto* memory = reinterpret_cast<void*>(address);
  if (bytes <= kClearedByHand) {
    std::memset(memory, 0, bytes);
  } else {
    HF_CHECK(madvise(memory, bytes, MADV_DONTNEED) == 0);
  }
  return 0;
}

std::uint64_t SimMemory::drop_pages(Address address, std::uint64_t bytes) {
  const std::uint64_t first = address >> kPageShift;
  const std::uint64_t count = bytes >> kPageShift;
  if (count > pages_.size() * 4) {  // a vast range: look at what there is instead
    const std::vector<std::uint64_t> numbers = pages_.numbers_in(first, first + count);
    for (std::uint64_t n : numbers) bury(pages_.remove(n));
    return numbers.size();
  }
  std::uint64_t dropped = 0;
  for (std::uint64_t n = first; n < first + count; ++n) {
    if (std::byte* page = pages_.remove(n); page != nullptr) {
      bury(page);
      ++dropped;
    }
  }
  return dropped;
}

void SimMemory::bury(std::byte* page) noexcept {
  std::memset(page, 0, kPageSize);
  std::byte*& ghost = ghosts_[buried_++ % ghosts_.size()];
  if (ghost != nullptr) give_sim_page(ghost);
  ghost = page;
}

std::uint64_t SimMemory::remap_out(Address to, Address from, std::uint64_t bytes) {
  HF_CHECK2(is_reserved(to, bytes) && purpose_of(to) == Purpose::pool, to, bytes);
  HF_CHECK2(is_reserved(from, bytes) && purpose_of(from) == Purpose::region, from, bytes);
  drop_pages(to, bytes);
  std::uint64_t carried = 0;
  for (std::uint64_t offset = 0; offset < bytes; offset += kPageSize) {
    std::byte* page = pages_.remove((from + offset) >> kPageShift);
    if (page == nullptr) continue;
    pages_.insert((to + offset) >> kPageShift, page);
    ++carried;
  }
  return carried;
}

std::byte* SimMemory::view(Address address) {
  if (!is_fake(address)) return reinterpret_cast<std::byte*>(address);
  std::byte* page = find(address);
  if (page == nullptr) {
    HF_CHECK2(purpose_of(address) == Purpose::pool, address, 0);  // a region's page must be there
    page = add(address, nullptr);
  }
  return page + (address & (kPageSize - 1));
}

Purpose SimMemory::purpose_of(Address address) const noexcept {
  const auto* range = reserved_.find(address);
  HF_CHECK2(range != nullptr, address, 0);
  return range->value;
}

bool SimMemory::is_reserved(Address address, std::uint64_t bytes) const noexcept {
  return bytes > 0 && is_page_aligned(address) && is_page_aligned(bytes) &&
         reserved_.holds_all(address, address + bytes);
}

std::byte* SimMemory::add(Address address, const std::byte* from) {
  std::byte* page = take_sim_page();
  if (from != nullptr) {
    std::memcpy(page, from, kPageSize);
  } else {
    std::memset(page, 0, kPageSize);
  }
  pages_.insert(address >> kPageShift, page);
  peak_pages_ = std::max(peak_pages_, pages_.size());
  return page;
}

void SimMemory::carry(Address to, Address from) {
  std::byte* page = pages_.remove(from >> kPageShift);
  HF_CHECK2(page != nullptr, to, from);
  pages_.insert(to >> kPageShift, page);
}

std::uint64_t SimMemory::resident_bytes_in(Address address, std::uint64_t bytes) const {
  const std::uint64_t first = address >> kPageShift;
  return pages_.numbers_in(first, first + (bytes >> kPageShift)).size() << kPageShift;
}

std::uint64_t SimMemory::reserved_bytes(Purpose purpose) const noexcept {
  std::uint64_t bytes = 0;
  for (const auto& range : reserved_.all()) {
    if (range.value == purpose) bytes += range.end - range.begin;
  }
  return bytes;
}

}  // namespace holdfast::sys
