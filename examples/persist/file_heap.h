// Memory inside a mapped file, for containers that live there.
//
// The heap's own books stand at the beginning of the file, so that a commit takes them along with
// what was allocated: after a crash they fit each other.
//
// Blocks are of powers of two; what is freed is kept for the next one of its size. The file grows
// as it is needed, and its address stays.
#pragma once

#include <array>
#include <bit>
#include <cstdint>
#include <new>

#include "holdfast/file.h"
#include "offset_pointer.h"

namespace persist {

class FileHeap {
 public:
  static constexpr std::uint64_t kMagic = 0x5453495352455021;
  static constexpr std::uint64_t kLeast = 1 << 20;  // bytes of a new file, and of its growth

  // The heap of this mapping, which outlives it; made if the file is new.
  explicit FileHeap(holdfast::FileMapping& mapping) noexcept : mapping_(mapping) {
    if (books().magic == 0)
      books() = {.magic = kMagic, .used = sizeof(Books), .free = {}, .root = {}};
  }
  [[nodiscard]] bool is_sound() const noexcept {
    return books().magic == kMagic && books().used <= mapping_.size();
  }

  // Throws std::bad_alloc, as containers want it: the file is as long as it may grow, or the disk
  // is full.
  void* allocate(std::uint64_t bytes) {
    const unsigned size_class = class_of(bytes);
    OffsetPointer<Block>& free = books().free[size_class];
    if (free) {
      Block* const block = free.get();
      free = block->next;
      return block;
    }
    const std::uint64_t end = books().used + (std::uint64_t{1} << size_class);
    if (end > mapping_.size() && !mapping_.resize(end + kLeast)) throw std::bad_alloc();
    void* const block = mapping_.data() + books().used;
    books().used = end;
    return block;
  }
  void deallocate(void* memory, std::uint64_t bytes) noexcept {
    OffsetPointer<Block>& free = books().free[class_of(bytes)];
    auto* const block = new (memory) Block{free};
    free = OffsetPointer<Block>(block);
  }

  // Where the program finds what it has put here.
  [[nodiscard]] OffsetPointer<void>& root() noexcept { return books().root; }
  [[nodiscard]] std::uint64_t used() const noexcept { return books().used; }

 private:
  struct Block {
    OffsetPointer<Block> next;
  };
  struct Books {
    std::uint64_t magic = 0;
    std::uint64_t used = 0;  // bytes of the file, from its beginning
    std::array<OffsetPointer<Block>, 48> free;
    OffsetPointer<void> root;
  };
  [[nodiscard]] static unsigned class_of(std::uint64_t bytes) noexcept {
    return static_cast<unsigned>(std::bit_width((bytes < 16 ? 16 : bytes) - 1));
  }
  [[nodiscard]] Books& books() const noexcept { return *reinterpret_cast<Books*>(mapping_.data()); }

  holdfast::FileMapping& mapping_;
};

// The heap of this run. What stands in a file cannot know where it is mapped this time: the program
// says so, once.
inline FileHeap*& the_heap() noexcept {
  static FileHeap* heap = nullptr;
  return heap;
}

// What containers ask for memory.
template <class T>
struct FileAllocator {
  using value_type = T;
  using pointer = OffsetPointer<T>;
  using const_pointer = OffsetPointer<const T>;
  using void_pointer = OffsetPointer<void>;
  using const_void_pointer = OffsetPointer<const void>;

  FileAllocator() noexcept = default;
  template <class U>
  FileAllocator(const FileAllocator<U>&) noexcept {}

  pointer allocate(std::size_t n) {
    return pointer(static_cast<T*>(the_heap()->allocate(n * sizeof(T))));
  }
  void deallocate(pointer memory, std::size_t n) noexcept {
    the_heap()->deallocate(memory.get(), n * sizeof(T));
  }
  friend bool operator==(const FileAllocator&, const FileAllocator&) noexcept { return true; }
};

}  // namespace persist
