// Eviction buffers: windows that have left their program and wait, as they were, to be compressed.
// Pages that are touched meanwhile come back from here for the price of a copy: the second chance.
//
// Who owns what: a buffer is used by one client at a time. Its pages and slots are guarded by that
// client's lock. A free one is taken by the evictor alone; a full one by whoever is to store it.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <deque>
#include <memory>

#include "base/base.h"
#include "run/entry_table.h"
#include "sys/sys.h"

namespace holdfast::run {

class Client;

class EvictionBuffer {
 public:
  static constexpr std::uint64_t kNoPage = ~std::uint64_t{0};

  EvictionBuffer(std::uint32_t index, std::byte* memory) noexcept : index_(index), memory_(memory) {
    clear();
  }
  [[nodiscard]] std::uint32_t index() const noexcept { return index_; }
  [[nodiscard]] std::byte* content(std::uint32_t place) const noexcept {
    return memory_ + place * kPageSize;
  }
  void clear() noexcept {
    pages.fill(kNoPage);
    slots.fill(SlotIndex());
  }

  // Free again; nothing is in it any more.
  void release() noexcept {
    clear();
    client = nullptr;
    state = State::free;
  }

  // True: the caller is the one who stores it now.
  [[nodiscard]] bool claim() noexcept {
    State expected = State::full;
    return state.compare_exchange_strong(expected, State::storing);
  }

  // leaving: the helper has been asked. full: pages stand here. storing: some of them are being
  // compressed; it becomes free, or full again.
  enum class State : std::uint8_t { free, leaving, full, storing };
  std::atomic<State> state{State::free};
  Client* client = nullptr;                       // whose pages; null: free
  std::array<std::uint64_t, kWindowPages> pages;  // whose entry says that it is here; kNoPage
  std::array<SlotIndex, kWindowPages> slots;      // what the page may still be equal to

 private:
  std::uint32_t index_;
  std::byte* memory_;  // kWindowPages pages
};

class EvictionBuffers {
 public:
  static Expected<std::unique_ptr<EvictionBuffers>> create(sys::Machine& machine,
                                                           std::uint32_t count) {
    const Address memory = TRY(machine.reserve(count * kHugeSize, kPageSize, sys::Purpose::table));
    std::unique_ptr<EvictionBuffers> buffers(new EvictionBuffers(machine, memory, count));
    return buffers;
  }
  ~EvictionBuffers() { machine_.release(memory_, buffers_.size() * kHugeSize); }
  EvictionBuffers(const EvictionBuffers&) = delete;
  EvictionBuffers& operator=(const EvictionBuffers&) = delete;

  [[nodiscard]] EvictionBuffer& operator[](std::uint32_t index) noexcept { return buffers_[index]; }
  [[nodiscard]] std::uint32_t size() const noexcept {
    return static_cast<std::uint32_t>(buffers_.size());
  }

 private:
  EvictionBuffers(sys::Machine& machine, Address memory, std::uint32_t count)
      : machine_(machine), memory_(memory) {
    for (std::uint32_t i = 0; i < count; ++i) {
      buffers_.emplace_back(i, machine.view(memory + i * kHugeSize));
    }
  }

  sys::Machine& machine_;
  Address memory_;
  std::deque<EvictionBuffer> buffers_;
};

}  // namespace holdfast::run
