#include "heap.h"

#include <algorithm>
#include <bit>
#include <cstring>

namespace kv {
namespace {

constexpr std::uint64_t kPage = 4096;
constexpr std::uint64_t kStep = 16;    // of the small classes, and the alignment of all
constexpr std::uint64_t kSmall = 256;  // the largest of them
constexpr unsigned kSmallClasses = kSmall / kStep;
constexpr std::uint64_t kGrowth = 16 << 20;  // the region grows by so much

std::uint64_t round_up(std::uint64_t value, std::uint64_t to) { return (value + to - 1) / to * to; }

struct SizeClass {
  unsigned number;
  std::uint64_t bytes;
};

SizeClass size_class(std::uint64_t bytes) {
  if (bytes <= kSmall) {
    const std::uint64_t steps = bytes == 0 ? 1 : (bytes + kStep - 1) / kStep;
    return {static_cast<unsigned>(steps - 1), steps * kStep};
  }
  const auto doubling = static_cast<unsigned>(std::bit_width(bytes - 1)) - 9;  // above 256, 512...
  const std::uint64_t base = kSmall << doubling;
  const std::uint64_t quarter = base / 4;
  const std::uint64_t quarters = (bytes - 1 - base) / quarter;
  return {kSmallClasses + doubling * 4 + static_cast<unsigned>(quarters),
          base + (quarters + 1) * quarter};
}

}  // namespace

std::uint64_t Heap::room(std::uint64_t bytes) { return size_class(bytes).bytes; }

void Heap::format(std::uint64_t reserved) {
  state_ = HeapState{};
  state_.top = round_up(reserved, kStep);
}

holdfast::Expected<Offset> Heap::allocate(std::uint64_t bytes) {
  const SizeClass wanted = size_class(bytes);
  Offset block = state_.free[wanted.number];
  if (block != 0) {
    Offset& link = *at<Offset>(block);
    state_.free[wanted.number] = link;
    link = 0;
  } else {
    const auto fresh = extend(wanted.bytes);
    if (!fresh) return fresh;
    block = *fresh;
  }
  state_.live += wanted.bytes;
  return block;
}

// A block that was never handed out.
holdfast::Expected<Offset> Heap::extend(std::uint64_t bytes) {
  const Offset block = round_up(state_.top, bytes >= kLarge ? kPage : kStep);
  if (block + bytes > region_.size()) {
    const auto grown = region_.resize(round_up(block + bytes, kGrowth));
    if (!grown) {
      return holdfast::fail({.code = holdfast::Errc::budget_exceeded,
                             .doing = "grow the data",
                             .what = "bytes of keys, values and table",
                             .value = block + bytes,
                             .limit = region_.size(),
                             .remedy = "delete keys, or start with a larger --capacity"});
    }
  }
  state_.top = block + bytes;
  return block;
}

holdfast::Expected<Offset> Heap::allocate_zeroed(std::uint64_t bytes) {
  const auto block = allocate(bytes);
  if (block && bytes < kLarge) std::memset(at<char>(*block), 0, bytes);
  return block;
}

void Heap::free(Offset block, std::uint64_t bytes) {
  const SizeClass freed = size_class(bytes);
  if (freed.bytes >= kLarge) blank(block, freed.bytes);
  *at<Offset>(block) = state_.free[freed.number];
  state_.free[freed.number] = block;
  state_.live -= freed.bytes;
}

void Heap::blank(Offset where, std::uint64_t bytes) {
  // Refused only where a page is pinned; then it is done by hand.
  if (!region_.advise(where, bytes, holdfast::Advice::free)) {
    std::memset(at<char>(where), 0, bytes);
  }
}

holdfast::Expected<holdfast::Pin> Heap::pin(Offset where, std::uint64_t bytes) {
  return engine_.pin(at<char>(where), bytes);
}

holdfast::Expected<void> Heap::write(Offset where, std::string_view bytes) {
  while (!bytes.empty()) {
    const std::size_t piece = std::min<std::size_t>(bytes.size(), kPinMost);
    const auto held = pin(where, piece);
    if (!held) return holdfast::fail(held.error());
    std::memcpy(at<char>(where), bytes.data(), piece);
    bytes.remove_prefix(piece);
    where += piece;
  }
  return {};
}

}  // namespace kv
