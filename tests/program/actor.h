// One thread of a random program: does one random operation after the other.
#pragma once

#include <array>
#include <cstdint>
#include <optional>

#include "program/program.h"

namespace holdfast::tests {

class Actor {
 public:
  Actor(Program& program, std::uint32_t number, std::uint64_t seed);
  void run(std::uint32_t operations);

 private:
  struct Place {
    Program::Slot* slot = nullptr;
    std::uint64_t first = 0;  // page
    std::uint64_t count = 0;  // pages, at least 1
  };
  // Holds a claim on pages of a slot while it lives; false: somebody's claim is in the way.
  class ClaimGuard {
   public:
    ClaimGuard(Program::Slot& slot, std::uint64_t first, std::uint64_t end, bool exclusive,
               std::uint32_t actor);
    ~ClaimGuard();
    ClaimGuard(const ClaimGuard&) = delete;
    ClaimGuard& operator=(const ClaimGuard&) = delete;
    [[nodiscard]] explicit operator bool() const noexcept { return held_; }

   private:
    Program::Slot& slot_;
    std::uint64_t first_;
    std::uint32_t actor_;
    bool held_;
  };

  void perform(Operation operation);
  [[nodiscard]] Operation draw_operation();
  [[nodiscard]] std::optional<Place> draw_place(std::uint64_t pages_max);
  void make_content(std::byte* to, std::uint64_t size);

  void load();
  void store();
  void fill();
  void sweep();
  void map();
  void unmap();
  void resize();
  void grow(Program::Slot& slot, std::uint64_t pages);
  void shrink(Program::Slot& slot, std::uint64_t pages);
  void pin();
  void keep_pin(Pin pin, const Place& place);
  void unpin();
  void prefetch();
  void advise();
  void advise_free(const Place& place);
  void allocate();
  void free_block();
  void reclaim();
  void stats();
  void clone();
  void snapshot();
  void read_copy();
  void drop_copy();
  void arm();

  Program& program_;
  const std::uint32_t number_;
  sys::SimRandom random_;
  std::uint64_t cursor_ = 0;  // of sequential and strided walks
  std::uint64_t stride_ = 1;
  std::uint32_t walk_left_ = 0;
  std::uint32_t slot_ = 0;
  alignas(8) std::array<std::byte, kPageSize> buffer_;
};

}  // namespace holdfast::tests
