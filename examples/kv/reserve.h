// Memory kept aside for the moment at which there is no more: full memory, full swap.
//
// A request that stores a value is told by an error when there is no room (Heap::pin). But plain
// loads and stores happen everywhere else: a lookup must read pages that are swapped out, and needs
// a frame for each. The reserve gives its pages back when the first of these errors comes, so that
// such work goes on in them; from then on the server refuses requests that need more memory, until
// enough was deleted that the reserve can be filled again.
//
// Thread-safety: give() in any thread and in the engine's signal handler; the rest the server's
// thread alone.
#pragma once

#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>

#include "holdfast/holdfast.h"

namespace kv {

class Reserve {
 public:
  // bytes: how much to keep aside, at most 16 blocks of 256 KiB.
  explicit Reserve(std::uint64_t bytes);
  ~Reserve();
  Reserve(const Reserve&) = delete;
  Reserve& operator=(const Reserve&) = delete;

  // To be set as on_error, with the reserve as its context, in the options of the engine.
  static holdfast::OnError on_error(const holdfast::Error& error, std::uintptr_t address,
                                    void* context) noexcept;
  // Fills it; before the first request. Errors: out_of_memory (the budget is too small).
  [[nodiscard]] holdfast::Expected<void> attach(holdfast::Engine& engine);
  // Gives the pages back; before the engine goes.
  void detach();

  // Gives the pages back if they are still there; true if they were.
  bool give() noexcept;
  // True while requests that need memory have to be refused. Tries to fill the reserve again, at
  // most every 100 ms.
  [[nodiscard]] bool is_spent();

 private:
  [[nodiscard]] bool fill();

  static constexpr unsigned kOrder = 6;  // 64 pages
  static constexpr std::size_t kBlocksMost = 16;
  std::atomic<holdfast::Engine*> engine_ = nullptr;
  std::array<std::atomic<std::byte*>, kBlocksMost> blocks_ = {};
  std::size_t wanted_;
  std::atomic<bool> spent_ = false;
  std::chrono::steady_clock::time_point tried_ = {};
};

}  // namespace kv
