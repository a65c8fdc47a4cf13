// Coroutines that wait for pages, and what became of each.
#pragma once

#include <algorithm>
#include <atomic>
#include <optional>
#include <vector>

#include "holdfast/holdfast.h"
#include "support/detached.h"
#include "sync/sync.h"

namespace holdfast::tests {

struct Wait {
  std::uint64_t page = 0;
  std::uint64_t bytes = 8;
  std::optional<Expected<std::uint64_t>> outcome;  // none: it has not gone on
};

template <class Memory>
Detached wait_for(const Memory& memory, Wait& wait, std::atomic<std::uint32_t>& ended) {
  wait.outcome = co_await memory.ready(wait.page * kPageSize, wait.bytes);
  ++ended;
}

// Coroutines that wait for a page each, or for more.
class Waits {
 public:
  // For pages at this distance from one another, round and round.
  explicit Waits(std::size_t count, std::uint64_t stride = 0, std::uint64_t pages = 1024)
      : all(count) {
    for (std::size_t i = 0; i < count; ++i) all[i].page = i * stride % pages;
  }

  template <class Memory>
  void begin(const Memory& memory) {
    for (Wait& wait : all) handles.push_back(wait_for(memory, wait, ended).handle);
  }
  void finish(std::size_t count) {
    while (ended < count) sync::parking().relax();
  }
  template <class Memory>
  void run(const Memory& memory) {
    begin(memory);
    finish(all.size());
  }
  // How many ended with this error.
  [[nodiscard]] std::uint64_t count(Errc code) const {
    return std::uint64_t(std::ranges::count_if(all, [&](const Wait& wait) {
      return wait.outcome && !*wait.outcome && wait.outcome->error().code == code;
    }));
  }
  [[nodiscard]] std::uint64_t good() const {
    return std::uint64_t(std::ranges::count_if(
        all, [](const Wait& wait) { return wait.outcome && wait.outcome->has_value(); }));
  }

  std::vector<Wait> all;
  std::vector<std::coroutine_handle<>> handles;
  std::atomic<std::uint32_t> ended{0};
};

}  // namespace holdfast::tests
