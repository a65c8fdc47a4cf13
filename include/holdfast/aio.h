// Aio: asynchronous reads, writes and syncs between files, pipes or sockets and managed memory,
// without copies.
//
// What it is for: a storage engine, a recorder or a server that moves data in and out of memory
// larger than RAM. Every buffer is pinned from the moment in which its operation is accepted until
// its completion has been called, so that reclaim, unmapping and cloning go on around it, and the
// transfer lands where its owner looks. Through io_uring; where that is forbidden, by threads, with
// the same interface.
//
// Who owns what: an Aio owns its queue and its threads, and is destroyed before its engine. A
// buffer in no region of the engine is passed to the system as it is: its memory is the caller's to
// keep. A file descriptor is the caller's, and stays open until the operation has completed.
//
// Three ways to learn of a completion:
//   callback    AioRequest::on_complete, called in interrupt context: get and put, unpin, free,
//               defer, and what else says "any context"
//   future      AioFuture, of start(): wait(), with or without a time limit
//   coroutine   co_await aio.transfer(request): goes on in task context, on the thread that drains
//
//     auto aio = holdfast::Aio::create(*engine);
//     holdfast::Buffer page{region.data(), 4096};
//     auto future = (*aio)->start(holdfast::AioRequest::read(fd, {&page, 1}, 0));
//     if (!future) return report(future.error());
//     auto bytes = future->wait();       // fewer than asked: the file ended there
//
// Context: task only, unless a function says "any context". Thread-safety: every function may be
// called by several threads at once.
#pragma once

#include <array>
#include <atomic>
#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <utility>

#include "holdfast/context.h"
#include "holdfast/engine.h"
#include "holdfast/error.h"
#include "holdfast/pin.h"

namespace holdfast {

enum class AioBackend : std::uint8_t { automatic, ring, threads };

// Who takes completions from the system and calls the callbacks.
enum class AioDrain : std::uint8_t {
  thread,  // a thread of the queue's own
  caller,  // whoever waits or calls poll(): no thread is woken for a completion. Deadlines and
           // cancellation take effect while somebody does
};

struct AioOptions {
  AioBackend backend = AioBackend::automatic;  // io_uring where it is allowed
  AioDrain drain = AioDrain::thread;
  std::uint32_t queue_limit = 256;               // operations accepted and not completed: 1 to 4096
  std::uint32_t threads = 4;                     // of the thread backend: 1 to 64
  PinAccountId account = PinAccountId::general;  // what the buffers' pins are charged to
};

// The outcome of one operation, as its callback gets it.
struct AioCompletion {
  // Bytes transferred: short where the file ended or a stream had no more to give. Errors:
  // cancelled, timed_out, system (os_errno), io_error (EIO), invalid_argument (EINVAL: O_DIRECT
  // wants buffer, length and offset aligned to the device's blocks).
  Expected<std::uint64_t> bytes = 0;
  std::uint64_t asked = 0;  // bytes asked for
  [[nodiscard]] bool is_whole() const noexcept { return bytes && *bytes == asked; }
};

using AioCallback = void (*)(const AioCompletion& completion, void* context) noexcept;

// What is to be done. The list of buffers is needed until the call that takes the request returns.
struct AioRequest {
  enum class Kind : std::uint8_t { read, write, sync, data_sync };
  // Offset of a stream (pipe, socket), or: where the file stands.
  static constexpr std::uint64_t kCurrent = ~std::uint64_t{0};

  Kind kind = Kind::read;
  int fd = -1;
  std::uint64_t offset = kCurrent;    // bytes
  std::span<const Buffer> buffers;    // at most Aio::kBuffersMax, 2^30 bytes together
  std::uint64_t timeout_ns = 0;       // from acceptance; 0: none. Then it is cancelled
  bool link = false;                  // the next one of the batch starts when this one has
                                      // transferred all; else it is cancelled
  AioCallback on_complete = nullptr;  // any thread, interrupt context; may be null
  void* context = nullptr;

  [[nodiscard]] static AioRequest read(int fd, std::span<const Buffer> buffers,
                                       std::uint64_t offset = kCurrent) noexcept {
    AioRequest request;
    request.fd = fd;
    request.buffers = buffers;
    request.offset = offset;
    return request;
  }
  [[nodiscard]] static AioRequest write(int fd, std::span<const Buffer> buffers,
                                        std::uint64_t offset = kCurrent) noexcept {
    AioRequest request = read(fd, buffers, offset);
    request.kind = Kind::write;
    return request;
  }
  [[nodiscard]] static AioRequest sync(int fd) noexcept {
    AioRequest request;
    request.kind = Kind::sync;
    request.fd = fd;
    return request;
  }
};

// Names an operation that was accepted; a value, of no use once it has completed.
struct AioTicket {
  std::uint32_t place = 0;
  std::uint32_t turn = 0;  // 0: no operation
};

struct AioStats {
  std::uint64_t submitted = 0, completed = 0;
  std::uint64_t failed = 0, cancelled = 0, timed_out = 0;  // of those that completed
  std::uint64_t short_transfers = 0;                       // fewer bytes than asked, no error
  std::uint64_t refused_full = 0;                          // submissions, for want of places
  std::uint64_t in_flight = 0, in_flight_max = 0;
};

class Aio;

// A handle of one operation. Move-only; letting go of it does not cancel: the buffer stays pinned
// until the operation completes. A future that is kept after its completion keeps its place in the
// queue too.
class AioFuture {
 public:
  AioFuture() noexcept = default;
  AioFuture(Aio* aio, AioTicket ticket) noexcept : aio_(aio), ticket_(ticket) {}
  AioFuture(AioFuture&& other) noexcept
      : aio_(std::exchange(other.aio_, nullptr)), ticket_(other.ticket_) {}
  AioFuture& operator=(AioFuture&& other) noexcept;
  AioFuture(const AioFuture&) = delete;
  AioFuture& operator=(const AioFuture&) = delete;
  HF_ANY_CONTEXT ~AioFuture();

  // Waits for the completion; its bytes or its error, as often as asked. timeout_ns: 0 waits
  // without limit; else timed_out after that long, and the operation goes on. Errors besides:
  // interrupt_context, invalid_argument (an empty future).
  [[nodiscard]] HF_TASK_ONLY Expected<std::uint64_t> wait(std::uint64_t timeout_ns = 0);
  // Completed? Any context.
  [[nodiscard]] HF_ANY_CONTEXT bool ready() const noexcept;
  // As Aio::cancel. Any context.
  HF_ANY_CONTEXT void cancel() noexcept;
  [[nodiscard]] AioTicket ticket() const noexcept { return ticket_; }
  [[nodiscard]] explicit operator bool() const noexcept { return aio_ != nullptr; }

 private:
  Aio* aio_ = nullptr;
  AioTicket ticket_;
};

// What co_await waits for: see Aio::transfer.
class AioTransfer {
 public:
  AioTransfer(Aio& aio, const AioRequest& request) noexcept : aio_(aio), request_(request) {}
  [[nodiscard]] bool await_ready() const noexcept { return false; }
  bool await_suspend(std::coroutine_handle<> waiter);
  [[nodiscard]] Expected<std::uint64_t> await_resume() const noexcept { return result_; }

 private:
  Aio& aio_;
  AioRequest request_;
  Expected<std::uint64_t> result_ = 0;
};

class Aio {
 public:
  static constexpr std::size_t kBuffersMax = 16;
  static constexpr std::uint64_t kBytesMax = std::uint64_t{1} << 30;
  static constexpr std::uint32_t kQueueLimitMax = 4096;

  // Errors: invalid_argument, permission / unsupported (AioBackend::ring where io_uring is
  // forbidden), out_of_memory, system.
  [[nodiscard]] HF_TASK_ONLY static Expected<std::unique_ptr<Aio>> create(
      Engine& engine, const AioOptions& options = {});

  // Cancels what is in flight and waits for it: afterwards no transfer touches any buffer, and
  // every callback has been called. (A transfer that the device has begun cannot be cancelled and
  // is waited for.) Task context: in an interrupt it is a bug that aborts.
  virtual ~Aio() = default;

  // Accepts all requests or none, in order; on_complete of each is called when it has completed,
  // before this returns perhaps. tickets: of as many as there are requests, or empty. Buffers are
  // brought in and pinned first. Errors: would_block (limit: queue_limit; nothing was accepted),
  // invalid_argument, interrupt_context, and those of Engine::pin.
  [[nodiscard]] HF_TASK_ONLY virtual Expected<void> submit(std::span<const AioRequest> requests,
                                                           std::span<AioTicket> tickets = {}) = 0;
  // The same, but waits for places in the queue, at most timeout_ns (0: without limit): timed_out.
  [[nodiscard]] HF_TASK_ONLY virtual Expected<void> submit_waiting(
      std::span<const AioRequest> requests, std::uint64_t timeout_ns = 0,
      std::span<AioTicket> tickets = {}) = 0;
  // Accepts one request and gives a future of it. Errors: as submit.
  [[nodiscard]] HF_TASK_ONLY virtual Expected<AioFuture> start(const AioRequest& request) = 0;
  // co_await it: the bytes, or the error of submission or completion. The coroutine goes on in task
  // context, on the thread that drains (AioDrain), and may submit more; it must not wait there for
  // other operations but by co_await. A full queue is would_block.
  [[nodiscard]] AioTransfer transfer(const AioRequest& request) noexcept {
    return {*this, request};
  }

  // Asks for the operation to end early. It completes in any case, with `cancelled` or, where it
  // was faster or cannot be cancelled, with what it did. False: it has completed already. Any
  // context, lock-free.
  HF_ANY_CONTEXT virtual bool cancel(AioTicket ticket) noexcept = 0;
  HF_ANY_CONTEXT virtual void cancel_all() noexcept = 0;

  // AioDrain::caller: takes what has completed, calls the callbacks (in interrupt context), and
  // resumes coroutines; waits for at least `least` completions in all, at most timeout_ns (0:
  // without limit), but not for more than are in flight. Returns how many. Errors:
  // interrupt_context, unsupported (AioDrain::thread).
  HF_TASK_ONLY virtual Expected<std::uint32_t> poll(std::uint32_t least = 1,
                                                    std::uint64_t timeout_ns = 0) = 0;
  // Waits until nothing is in flight, at most timeout_ns (0: without limit): timed_out.
  HF_TASK_ONLY virtual Expected<void> wait_idle(std::uint64_t timeout_ns = 0) = 0;

  // Any context.
  [[nodiscard]] HF_ANY_CONTEXT virtual AioStats stats() const noexcept = 0;
  // "io_uring" or "threads".
  [[nodiscard]] HF_ANY_CONTEXT virtual const char* backend() const noexcept = 0;

 private:
  friend class AioFuture;
  friend class AioTransfer;
  [[nodiscard]] virtual Expected<std::uint64_t> wait(AioTicket ticket,
                                                     std::uint64_t timeout_ns) = 0;
  [[nodiscard]] virtual bool is_done(AioTicket ticket) const noexcept = 0;
  virtual void let_go(AioTicket ticket) noexcept = 0;
  // Accepts the request; `waiter` is resumed when it has completed, with the outcome in `result`.
  [[nodiscard]] virtual Expected<void> submit_for(const AioRequest& request,
                                                  std::coroutine_handle<> waiter,
                                                  Expected<std::uint64_t>& result) = 0;
};

}  // namespace holdfast
