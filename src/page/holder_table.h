// HolderTable: who holds each frame, by kind, and on demand from where.
//
// What it is for: debug builds count every reference under its Holder kind, so that a reference
// dropped by somebody who has none aborts there and then, and a leak names its holder. Release
// builds keep nothing; the calls compile to nothing.
//
// Who owns what: the frame pool owns the table and gives it its memory.
// Flow: take() after a reference was added, drop() before it is given back: while a kind is being
// changed the reference is there, so the frame cannot be recycled meanwhile.
// Context: any; lock-free.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>

#include "base/base.h"
#include "page/holders.h"

namespace holdfast::page {

#if defined(HOLDFAST_DEBUG)

class HolderTable {
 public:
  static constexpr std::size_t kSites = 4;  // call sites kept a frame: the last few takers

  // Bytes of zeroed memory that a table of `frames` needs.
  [[nodiscard]] static std::uint64_t bytes_for(std::uint64_t frames, bool call_sites) noexcept {
    return frames * (sizeof(Kinds) + (call_sites ? sizeof(Sites) : 0));
  }
  void attach(std::byte* memory, std::uint64_t frames, bool call_sites) noexcept;

  // The call site is that of the function into which this is inlined: the pool's always are.
  [[gnu::noinline]] void take(FrameIndex frame, Holder holder) noexcept;
  void drop(FrameIndex frame, Holder holder) noexcept;
  // How many references of the kind the frame has.
  [[nodiscard]] std::uint32_t count(FrameIndex frame, Holder holder) const noexcept;
  [[nodiscard]] bool none(FrameIndex frame) const noexcept;
  // The i-th remembered taker: its return address and kind; 0: none.
  [[nodiscard]] std::uint64_t site(FrameIndex frame, std::size_t i, Holder& holder) const noexcept;

 private:
  struct Kinds {
    std::array<std::atomic<std::uint32_t>, kHolderKinds> counts;
  };
  struct Sites {
    std::array<std::atomic<std::uint64_t>, kSites> words;  // kind << 56 | return address; 0: empty
  };
  void remember(Sites& sites, Holder holder, std::uint64_t address) noexcept;
  void forget(Sites& sites, Holder holder) noexcept;

  Kinds* kinds_ = nullptr;  // one a frame
  Sites* sites_ = nullptr;  // one a frame; null: call sites are not recorded
  std::uint64_t frames_ = 0;
};

#else

class HolderTable {
 public:
  static constexpr std::size_t kSites = 0;
  [[nodiscard]] static std::uint64_t bytes_for(std::uint64_t, bool) noexcept { return 0; }
  void attach(std::byte*, std::uint64_t, bool) noexcept {}
  void take(FrameIndex, Holder) noexcept {}
  void drop(FrameIndex, Holder) noexcept {}
  [[nodiscard]] std::uint32_t count(FrameIndex, Holder) const noexcept { return 0; }
  [[nodiscard]] bool none(FrameIndex) const noexcept { return true; }
  [[nodiscard]] std::uint64_t site(FrameIndex, std::size_t, Holder&) const noexcept { return 0; }
};

#endif

}  // namespace holdfast::page
