// Asynchronous transfers of the machine: io_uring, or threads where it is forbidden.
//
// A raw queue: it takes requests and gives back results, by number; it pins nothing, calls nobody
// and keeps no account. What becomes of a request is known from its completion alone: each request
// that was taken completes exactly once.
//
// Threads: submit and cancel from any thread at once; reap from one thread at a time; wake from any
// context. No ranked lock but those below `device` may be held around submit and cancel.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "base/base.h"

namespace holdfast::sys {

// A part of a transfer; laid out as an iovec.
struct IoPart {
  std::byte* data = nullptr;
  std::size_t bytes = 0;
};

enum class AsyncKind : std::uint8_t { read, write, sync, data_sync };

struct AsyncRequest {
  static constexpr std::uint64_t kCurrent = ~std::uint64_t{0};  // streams; where the file stands

  std::uint64_t id = 0;  // the caller's; below 2^63, and of one request at a time
  AsyncKind kind = AsyncKind::read;
  int fd = -1;
  std::uint64_t offset = kCurrent;
  const IoPart* parts = nullptr;  // stay where they are until the completion
  std::uint32_t count = 0;        // of parts
};

// result: bytes, or minus an errno; -ECANCELED after cancel().
struct AsyncCompletion {
  std::uint64_t id = 0;
  std::int64_t result = 0;
};

enum class AsyncBackend : std::uint8_t { automatic, ring, threads };

struct AsyncIoOptions {
  AsyncBackend backend = AsyncBackend::automatic;
  std::uint32_t depth = 256;         // requests in flight at most: the caller sees to it
  std::uint32_t threads = 4;         // of the thread backend
  bool reaped_by_submitter = false;  // reap() is mostly called by the threads that submit
};

class AsyncIo {
 public:
  virtual ~AsyncIo() = default;  // nothing is in flight

  // Takes all requests; what the system then refuses completes with its errno.
  virtual void submit(std::span<const AsyncRequest> requests) noexcept = 0;
  // Asks for the request to complete early. One that is not there, or past cancelling, is left
  // alone.
  virtual void cancel(std::uint64_t id) noexcept = 0;
  // Takes completions, as many as are there and fit. None there: waits for one, for wake(), or for
  // timeout_ns (0: does not wait; kForever). May return none for no reason. May wait: no lock held.
  // least: a hint that so many are worth sleeping for, for a millisecond or so (wake() may be late
  // by as much): a thread that is woken for each completion is woken dearly.
  virtual std::uint32_t reap(std::span<AsyncCompletion> out, std::uint64_t timeout_ns,
                             std::uint32_t least) noexcept = 0;
  static constexpr std::uint64_t kForever = ~std::uint64_t{0};
  // The reap() that waits now, or else the next one, returns at once. Any context.
  virtual void wake() noexcept = 0;
  // "io_uring", "threads".
  [[nodiscard]] virtual const char* description() const noexcept = 0;
};

}  // namespace holdfast::sys
