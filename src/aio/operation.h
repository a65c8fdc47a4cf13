// One place of the queue, and the operation that has it.
//
//   free ──take──▶ held ──▶ queued ──▶ submitting ──▶ in_flight ──▶ done ──▶ free
//                    └──────────────────▲    └──────────────────────▲
//
//   held        being filled by its submitter
//   queued      linked behind another, and not begun
//   submitting  on its way to the machine; it may complete before it is seen as in flight
//   done        its outcome stands; the place is free when the last holder has let go
//
// State and turn are one word, on which waiters park. The turn changes with each use, so that a
// ticket of an earlier operation, or a cancellation that comes late, meets nobody.
#pragma once

#include <array>
#include <atomic>
#include <coroutine>
#include <cstdint>

#include "base/base.h"
#include "holdfast/aio.h"
#include "sys/sys.h"

namespace holdfast::aio {

enum class OperationState : std::uint8_t { free, held, queued, submitting, in_flight, done };
enum class CancelReason : std::uint8_t { none, asked, timed_out, sent_asked, sent_timed_out };

class Operation {
 public:
  static constexpr unsigned kTagBits = 4;  // of the words below: state or reason, under the turn
  static constexpr std::uint32_t kTurnMax = (1U << 27) - 1;

  static constexpr std::uint32_t make(std::uint32_t turn, OperationState state) noexcept {
    return turn << kTagBits | static_cast<std::uint32_t>(state);
  }
  static constexpr std::uint32_t make(std::uint32_t turn, CancelReason reason) noexcept {
    return turn << kTagBits | static_cast<std::uint32_t>(reason);
  }
  static constexpr std::uint32_t turn_of(std::uint32_t word) noexcept { return word >> kTagBits; }

  [[nodiscard]] std::uint32_t turn() const noexcept { return turn_of(word.load()); }
  [[nodiscard]] OperationState state() const noexcept {
    return static_cast<OperationState>(word.load() & ((1U << kTagBits) - 1));
  }
  void to(OperationState state) noexcept { word.store(make(turn(), state)); }
  // Why it is to end early, if it is.
  [[nodiscard]] CancelReason reason() const noexcept {
    const std::uint32_t value = cancel.load();
    if (turn_of(value) != turn()) return CancelReason::none;
    return static_cast<CancelReason>(value & ((1U << kTagBits) - 1));
  }
  // Completed, or never there.
  [[nodiscard]] bool is_done(std::uint32_t of_turn) const noexcept {
    const std::uint32_t value = word.load();
    return turn_of(value) != of_turn || value == make(of_turn, OperationState::done) ||
           value == make(of_turn, OperationState::free);
  }
  // Takes the place for a new operation: the next turn, held.
  void begin() noexcept {
    const std::uint32_t next_turn = turn() == kTurnMax ? 1 : turn() + 1;
    cancel.store(make(next_turn, CancelReason::none));
    word.store(make(next_turn, OperationState::held));
  }
  // Asks for its end, once, if it is of that turn and not done. Any context.
  [[nodiscard]] bool ask_to_end(std::uint32_t of_turn, CancelReason why) noexcept {
    std::uint32_t expected = make(of_turn, CancelReason::none);
    if (is_done(of_turn)) return false;
    (void)cancel.compare_exchange_strong(expected, make(of_turn, why));
    return turn_of(expected) == of_turn;
  }
  // True once, for whoever is to tell the machine.
  [[nodiscard]] bool take_request_to_end() noexcept {
    const std::uint32_t own = turn();
    std::uint32_t asked = make(own, CancelReason::asked);
    if (cancel.compare_exchange_strong(asked, make(own, CancelReason::sent_asked))) return true;
    std::uint32_t late = make(own, CancelReason::timed_out);
    return cancel.compare_exchange_strong(late, make(own, CancelReason::sent_timed_out));
  }

  std::atomic<std::uint32_t> next{base::kNoLink};  // of the free places
  std::atomic<std::uint32_t> word{make(0, OperationState::free)};
  std::atomic<std::uint32_t> cancel{make(0, CancelReason::none)};
  std::atomic<std::uint32_t> holders{0};      // the queue, and a future
  std::atomic<std::uint64_t> deadline_ns{0};  // 0: none

  // The submitter's while held, then the drain's.
  sys::AsyncRequest request;
  std::array<sys::IoPart, Aio::kBuffersMax> parts;
  std::array<Pin, Aio::kBuffersMax> pins;
  AioCallback callback = nullptr;
  void* context = nullptr;
  std::coroutine_handle<> waiter;
  Expected<std::uint64_t>* waiter_result = nullptr;
  std::uint32_t linked = base::kNoLink;  // the place of the operation that follows
  std::uint32_t retries = 0;             // begun again after the system ended it by itself

  // The drain's until done, then constant.
  AioCompletion outcome;
};

struct OperationLinks {
  static std::atomic<std::uint32_t>& next(Operation& operation) noexcept { return operation.next; }
};

}  // namespace holdfast::aio
