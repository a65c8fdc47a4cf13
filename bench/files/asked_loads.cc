#include "files/asked_loads.h"

#include <holdfast/holdfast.h>

#include <atomic>
#include <coroutine>
#include <exception>
#include <optional>

#include "paging/engine_side.h"
#include "transfer/disk_file.h"

namespace holdfast::bench {
namespace {

// Begins at once and ends by itself.
struct Task {
  struct promise_type {
    Task get_return_object() noexcept { return {}; }
    std::suspend_never initial_suspend() noexcept { return {}; }
    std::suspend_never final_suspend() noexcept { return {}; }
    void return_void() noexcept {}
    void unhandled_exception() noexcept { std::terminate(); }
  };
};

// Shared by the coroutines, of which one runs at a time, on the engine's thread.
struct Loads {
  const FileMapping& mapping;
  const std::uint64_t pages;
  Random& random;
  std::uint64_t left;
  Interval interval = {};
  std::optional<Error> error = {};
  std::atomic<unsigned> running{1};

  void leave() {
    if (--running == 0) running.notify_one();
  }
};

Task load(Loads& loads) {
  while (loads.left > 0) {
    --loads.left;
    const std::uint64_t index = loads.random.below(loads.pages);
    const std::uint64_t offset = index * kPageBytes;
    const auto there = co_await loads.mapping.ready(offset, sizeof(std::uint64_t));
    if (!there) {
      loads.error = there.error();
      loads.left = 0;
      break;
    }
    const bool right = load_word(loads.mapping.data() + offset) == DiskFile::tag_of(index);
    loads.interval.wrong += right ? 0 : 1;
  }
  loads.leave();
}

// Nothing of the file is in memory: it goes on on the engine's thread, and the others begin there.
Task begin(Loads& loads, unsigned coroutines) {
  const auto there = co_await loads.mapping.ready(0, 1);
  if (!there) loads.error = there.error();
  for (unsigned i = 0; there && i < coroutines; ++i) {
    ++loads.running;
    load(loads);
  }
  loads.leave();
}

}  // namespace

Result<Interval> load_by_asking(const FileMapping& mapping, unsigned coroutines, std::uint64_t ops,
                                std::uint64_t pages, Random& random) {
  Loads loads{
      .mapping = mapping, .pages = pages, .random = random, .left = ops, .interval = {.ops = ops}};
  begin(loads, coroutines);
  for (unsigned now = loads.running; now != 0; now = loads.running) loads.running.wait(now);
  if (loads.error) return engine_trouble(*loads.error);
  return loads.interval;
}

}  // namespace holdfast::bench
