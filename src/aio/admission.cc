// The way in: requests are checked, get places, pin their buffers, and go to the machine.
#include <algorithm>

#include "aio/queue.h"

namespace holdfast::aio {
namespace {

std::unexpected<Error> bad(const char* what, std::uint64_t value, std::uint64_t limit,
                           const char* remedy) noexcept {
  return fail({.code = Errc::invalid_argument,
               .doing = "submit I/O",
               .what = what,
               .value = value,
               .limit = limit,
               .remedy = remedy});
}

bool transfers(const AioRequest& request) noexcept {
  return request.kind == AioRequest::Kind::read || request.kind == AioRequest::Kind::write;
}

std::uint64_t bytes_of(const AioRequest& request) noexcept {
  std::uint64_t bytes = 0;
  for (const Buffer& buffer : request.buffers) {
    if (buffer.bytes > Aio::kBytesMax) return Aio::kBytesMax + 1;
    bytes += buffer.bytes;
  }
  return bytes;
}

Expected<void> check_request(const AioRequest& request) noexcept {
  if (request.fd < 0) {
    return bad("fd", static_cast<std::uint64_t>(-std::int64_t{request.fd}), 0,
               "give an open file descriptor");
  }
  if (!transfers(request)) {
    if (request.buffers.empty()) return {};
    return bad("buffers of a sync", request.buffers.size(), 0, "a sync has no buffers");
  }
  if (request.buffers.empty() || request.buffers.size() > Aio::kBuffersMax) {
    return bad("buffers", request.buffers.size(), Aio::kBuffersMax, "give 1 to 16 buffers");
  }
  const std::uint64_t bytes = bytes_of(request);
  if (bytes == 0 || bytes > Aio::kBytesMax) {
    return bad("bytes", bytes, Aio::kBytesMax, "transfer 1 byte to 1 GiB at once");
  }
  if (std::ranges::any_of(request.buffers,
                          [](const Buffer& b) { return b.data == nullptr && b.bytes != 0; })) {
    return bad("address of a buffer", 0, 0, "give memory, or no bytes");
  }
  return {};
}

sys::AsyncKind kind_of(AioRequest::Kind kind) noexcept {
  switch (kind) {
    case AioRequest::Kind::read:
      return sys::AsyncKind::read;
    case AioRequest::Kind::write:
      return sys::AsyncKind::write;
    case AioRequest::Kind::sync:
      return sys::AsyncKind::sync;
    case AioRequest::Kind::data_sync:
      return sys::AsyncKind::data_sync;
  }
  return sys::AsyncKind::sync;
}

}  // namespace

Expected<void> Queue::check(std::span<const AioRequest> requests,
                            const Claim& claim) const noexcept {
  if (!claim.tickets.empty() && claim.tickets.size() != requests.size()) {
    return bad("tickets", claim.tickets.size(), requests.size(), "give one for each request");
  }
  if (requests.size() > options_.queue_limit) {
    return bad("requests of one batch", requests.size(), options_.queue_limit,
               "submit fewer at once, or raise queue_limit");
  }
  for (const AioRequest& request : requests) TRY_VOID(check_request(request));
  if (!requests.empty() && requests.back().link) {
    return bad("link of the last request", 1, 0, "a link leads to the next one of the batch");
  }
  return {};
}

Expected<void> Queue::accept(std::span<const AioRequest> requests, const Claim& claim) {
  TRY_VOID(sync::check_task_context("submit I/O"));
  TRY_VOID(check(requests, claim));
  if (requests.empty()) return {};
  if (closing_.load()) return fail({.code = Errc::cancelled, .doing = "submit I/O"});
  std::uint32_t first = base::kNoLink;
  TRY_VOID(take_places(static_cast<std::uint32_t>(requests.size()), first));
  std::uint32_t place = first;
  for (const AioRequest& request : requests) {
    Operation& operation = operations_[place];
    if (auto filled = fill(operation, request); !filled) {
      give_back_places(first);
      return filled;
    }
    place = operation.next.load(std::memory_order_relaxed);
  }
  launch(first, requests, claim);
  return {};
}

// A chain of `count` places, in the order of the requests.
Expected<void> Queue::take_places(std::uint32_t count, std::uint32_t& first) noexcept {
  const sync::EngineScope scope;
  for (std::uint32_t taken = 0; taken < count; ++taken) {
    const std::uint32_t place = free_.pop(all());
    if (place == base::kNoLink) {
      give_back_places(first);
      refused_.fetch_add(1, std::memory_order_relaxed);
      return fail({.code = Errc::would_block,
                   .doing = "submit I/O",
                   .what = "operations in flight and asked for",
                   .value = in_flight_.load(std::memory_order_relaxed) + count,
                   .limit = options_.queue_limit,
                   .remedy = "wait for some to complete, use submit_waiting, or raise "
                             "queue_limit"});
    }
    Operation& operation = operations_[place];
    operation.begin();
    operation.next.store(first, std::memory_order_relaxed);
    first = place;
  }
  return {};
}

// None of them was seen by anybody.
void Queue::give_back_places(std::uint32_t first) noexcept {
  if (first == base::kNoLink) return;  // nothing that others could have missed
  const sync::EngineScope scope;
  while (first != base::kNoLink) {
    Operation& operation = operations_[first];
    const std::uint32_t next = operation.next.exchange(base::kNoLink, std::memory_order_relaxed);
    for (Pin& pin : operation.pins) pin.reset();
    operation.to(OperationState::free);
    free_.push(all(), first);
    first = next;
  }
  tell_of_places();
}

Expected<void> Queue::fill(Operation& operation, const AioRequest& request) {
  const auto place = static_cast<std::uint64_t>(&operation - operations_.data());
  operation.request = {.id = std::uint64_t{operation.turn()} << 32 | place,
                       .kind = kind_of(request.kind),
                       .fd = request.fd,
                       .offset = request.offset,
                       .parts = operation.parts.data(),
                       .count = static_cast<std::uint32_t>(request.buffers.size())};
  operation.callback = request.on_complete;
  operation.context = request.context;
  operation.waiter = {};
  operation.waiter_result = nullptr;
  operation.linked = base::kNoLink;
  operation.retries = 0;
  operation.holders.store(1);
  operation.outcome = {.bytes = 0, .asked = bytes_of(request)};
  return pin_buffers(operation, request);
}

// Outside of any scope of the engine's: a page that is not resident is brought in.
Expected<void> Queue::pin_buffers(Operation& operation, const AioRequest& request) {
  // What a read stores is written to, what a write stores is only looked at.
  const Access access = request.kind == AioRequest::Kind::read ? Access::write : Access::read;
  for (std::size_t i = 0; i < request.buffers.size(); ++i) {
    const Buffer& buffer = request.buffers[i];
    operation.parts[i] = {.data = static_cast<std::byte*>(buffer.data), .bytes = buffer.bytes};
    if (buffer.bytes == 0) continue;
    const std::byte* const last = operation.parts[i].data + buffer.bytes - 1;
    // Memory of nobody's but the caller's is as resident as the kernel likes it.
    if (!engine_.owns(buffer.data) && !engine_.owns(last)) continue;
    auto pin = engine_.pin(buffer.data, buffer.bytes, access, options_.account);
    if (!pin) return std::unexpected(pin.error());
    operation.pins[i] = std::move(*pin);
  }
  return {};
}

// From here on nothing can fail: what the machine refuses is a completion.
void Queue::launch(std::uint32_t first, std::span<const AioRequest> requests,
                   const Claim& claim) noexcept {
  const sync::EngineScope scope;
  const std::uint64_t flying = in_flight_.fetch_add(requests.size()) + requests.size();
  std::uint64_t most = in_flight_max_.load(std::memory_order_relaxed);
  while (most < flying &&
         !in_flight_max_.compare_exchange_weak(most, flying, std::memory_order_relaxed)) {
  }
  submitted_.fetch_add(requests.size(), std::memory_order_relaxed);
  std::array<std::uint32_t, kBatch> heads;
  std::uint32_t count = 0;
  std::uint32_t place = first;
  std::uint32_t previous = base::kNoLink;  // the one that this one is linked behind
  for (std::size_t i = 0; i < requests.size(); ++i) {
    Operation& operation = operations_[place];
    const std::uint32_t next = operation.next.exchange(base::kNoLink, std::memory_order_relaxed);
    if (!claim.tickets.empty()) claim.tickets[i] = {.place = place, .turn = operation.turn()};
    if (claim.future) operation.holders.store(2);
    operation.waiter = claim.waiter;
    operation.waiter_result = claim.waiter_result;
    const std::uint64_t timeout = requests[i].timeout_ns;
    const std::uint64_t deadline = timeout == 0 ? 0 : machine_.now_ns() + timeout;
    operation.deadline_ns.store(deadline);
    if (requests[i].link) operation.linked = next;
    const bool is_head = previous == base::kNoLink;
    operation.to(is_head ? OperationState::submitting : OperationState::queued);
    if (deadline != 0) note_deadline(deadline);
    previous = requests[i].link ? place : base::kNoLink;
    // A head may go only when all that is linked behind it is ready to follow.
    if (is_head) heads[count++] = place;
    const bool chain_ends = !requests[i].link;
    if (chain_ends && (count == kBatch || i + 1 == requests.size())) {
      begin(std::span(heads).first(count));
      count = 0;
    }
    place = next;
  }
}

// The operations stand at `submitting`. Their completions may come before submit() returns.
void Queue::begin(std::span<const std::uint32_t> places) noexcept {
  std::array<sys::AsyncRequest, kBatch> requests;
  std::array<std::uint32_t, kBatch> words;
  for (std::size_t i = 0; i < places.size(); ++i) {
    const Operation& operation = operations_[places[i]];
    requests[i] = operation.request;
    words[i] = operation.word.load();
  }
  io_->submit(std::span(requests).first(places.size()));
  bool asked = false;
  for (std::size_t i = 0; i < places.size(); ++i) {
    Operation& operation = operations_[places[i]];
    const std::uint32_t turn = Operation::turn_of(words[i]);
    if (!operation.word.compare_exchange_strong(words[i],
                                                Operation::make(turn, OperationState::in_flight))) {
      continue;  // it has completed
    }
    // Asked to end on its way, when there was nothing to tell the machine yet.
    asked = asked || operation.reason() != CancelReason::none;
  }
  if (!asked) return;
  attention_.store(true);
  io_->wake();
}

// The drain waits no longer than until the earliest.
void Queue::note_deadline(std::uint64_t deadline_ns) noexcept {
  std::uint64_t earliest = next_deadline_ns_.load();
  while (deadline_ns < earliest) {
    if (next_deadline_ns_.compare_exchange_weak(earliest, deadline_ns)) {
      io_->wake();
      return;
    }
  }
}

}  // namespace holdfast::aio
