// Accounts of pins: who pins how much, and no more than its limit.
//
// A pin of an account is charged before its pages are pinned and discharged after they are let go
// of; a page that an account pins twice counts twice. Account 0, `general`, is not counted, so that
// the fast path of those who need no account stays what it is.
//
// Context: open and close in task context; charge, discharge and reading in any, lock-free.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>

#include "base/base.h"
#include "holdfast/pin.h"

namespace holdfast::space {

class PinAccounts {
 public:
  static constexpr std::size_t kAccountsMax = 64;

  // name: outlives the engine and its errors. Errors: invalid_argument, budget_exceeded (all
  // accounts are open).
  [[nodiscard]] Expected<PinAccountId> open(const char* name, std::uint64_t limit_pages) noexcept;
  // Errors: invalid_argument (not open), busy (pins are charged to it).
  [[nodiscard]] Expected<void> close(PinAccountId id) noexcept;

  // False: the limit would be broken, or the account is not open; nothing is charged.
  [[nodiscard]] bool charge(PinAccountId id, std::uint64_t pages) noexcept;
  void discharge(PinAccountId id, std::uint64_t pages) noexcept;

  // By number, for reports; a null name: not open.
  struct View {
    const char* name;
    std::uint64_t pages, limit, refused;
  };
  [[nodiscard]] View view(std::size_t number) const noexcept;

  // Notes in the error who holds most; all_pins: of everybody, accounts or not.
  void name_holders(Error& error, std::uint64_t all_pins) const noexcept;

 private:
  enum class State : std::uint8_t { closed, busy, open };  // busy: being opened or closed
  struct Account {
    std::atomic<State> state{State::closed};
    std::atomic<const char*> name{nullptr};
    std::atomic<std::uint64_t> limit{0};
    std::atomic<std::uint64_t> pages{0};
    std::atomic<std::uint64_t> refused{0};
  };
  [[nodiscard]] static std::size_t number(PinAccountId id) noexcept {
    return static_cast<std::size_t>(id);
  }

  std::array<Account, kAccountsMax> accounts_;  // number 0 stands for general and stays closed
};

}  // namespace holdfast::space
