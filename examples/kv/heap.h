// Blocks of memory inside one region, named by their offset.
//
// Everything that the server keeps lies in the region, the heap's own state included, and refers to
// other things by offset, never by address: so a region that comes back from an image at another
// address is the same data.
//
// Blocks have sizes in classes (16, 32, ... 256 bytes, then four classes to a doubling); a block
// that is freed is used again for its class only. A large one gives its pages back at once. Memory
// is not taken before it is written: the unused end of a large block costs nothing.
//
// Thread-safety: none; the server has one thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "holdfast/holdfast.h"

namespace kv {

using Offset = std::uint64_t;  // from the start of the region; 0: nothing

// The part of the heap that lies in the region.
struct HeapState {
  static constexpr unsigned kClasses = 128;
  std::uint64_t top;      // what is above was never handed out, and reads as zeros
  std::uint64_t live;     // bytes of the blocks that are in use
  Offset free[kClasses];  // lists of free blocks, linked by their first word
};

class Heap {
 public:
  // Blocks of at least so many bytes begin at a page, read as zeros when they are new, and give
  // their pages back when they are freed.
  static constexpr std::uint64_t kLarge = 64 << 10;
  // The most that one pin() may ask for.
  static constexpr std::uint64_t kPinMost = 64 << 10;

  Heap(holdfast::Engine& engine, holdfast::Region& region, HeapState& state)
      : engine_(engine), region_(region), state_(state) {}

  // A new heap that begins behind the first `reserved` bytes of the region.
  void format(std::uint64_t reserved);

  // A block of at least `bytes`. Errors: budget_exceeded (the region cannot grow any more).
  [[nodiscard]] holdfast::Expected<Offset> allocate(std::uint64_t bytes);
  // The same, reading as zeros.
  [[nodiscard]] holdfast::Expected<Offset> allocate_zeroed(std::uint64_t bytes);
  // bytes: as it was asked for.
  void free(Offset block, std::uint64_t bytes);
  // Lets [at, at + bytes) of a large block read as zeros, whole pages of it.
  void blank(Offset at, std::uint64_t bytes);

  // What a block for so many bytes really holds.
  [[nodiscard]] static std::uint64_t room(std::uint64_t bytes);

  // Brings the range in and keeps it there while the pin lives. Stores into pinned memory cannot
  // fail. A plain store can, where there is neither a frame nor swap space left, and has nobody to
  // return the error to: so data from clients is stored through pins. bytes: at most kPinMost.
  [[nodiscard]] holdfast::Expected<holdfast::Pin> pin(Offset at, std::uint64_t bytes);
  // Copies bytes there, through pins. After an error part of them may be there.
  [[nodiscard]] holdfast::Expected<void> write(Offset at, std::string_view bytes);

  template <class T>
  [[nodiscard]] T* at(Offset offset) const {
    return reinterpret_cast<T*>(region_.data() + offset);
  }

  // Bytes in use, and those that were ever handed out.
  [[nodiscard]] std::uint64_t live() const { return state_.live; }
  [[nodiscard]] std::uint64_t top() const { return state_.top; }

 private:
  [[nodiscard]] holdfast::Expected<Offset> extend(std::uint64_t bytes);

  holdfast::Engine& engine_;
  holdfast::Region& region_;
  HeapState& state_;
};

}  // namespace kv
