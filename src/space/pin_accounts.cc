// context: any
#include "space/pin_accounts.h"

#include <algorithm>
#include <utility>

namespace holdfast::space {

Expected<PinAccountId> PinAccounts::open(const char* name, std::uint64_t limit_pages) noexcept {
  if (name == nullptr || *name == '\0' || limit_pages == 0) {
    return fail({.code = Errc::invalid_argument,
                 .doing = "open pin account",
                 .what = limit_pages == 0 ? "limit_pages" : "name",
                 .value = limit_pages,
                 .remedy = "give it a name and a limit of at least 1 page"});
  }
  for (std::size_t i = 1; i < accounts_.size(); ++i) {
    Account& account = accounts_[i];
    State expected = State::closed;
    if (!account.state.compare_exchange_strong(expected, State::busy)) continue;
    account.name.store(name, std::memory_order_relaxed);
    account.limit.store(limit_pages, std::memory_order_relaxed);
    account.refused.store(0, std::memory_order_relaxed);
    account.state.store(State::open);
    return static_cast<PinAccountId>(i);
  }
  return fail({.code = Errc::budget_exceeded,
               .doing = "open pin account",
               .what = "open accounts",
               .value = kAccountsMax - 1,
               .limit = kAccountsMax - 1,
               .remedy = "close accounts that are not used any more"});
}

Expected<void> PinAccounts::close(PinAccountId id) noexcept {
  const std::size_t i = number(id);
  State expected = State::open;
  if (i == 0 || i >= accounts_.size() ||
      !accounts_[i].state.compare_exchange_strong(expected, State::busy)) {
    return fail({.code = Errc::invalid_argument,
                 .doing = "close pin account",
                 .what = "account",
                 .value = i,
                 .limit = kAccountsMax - 1,
                 .remedy = "give an account that is open"});
  }
  // From here nobody is charged any more; who is charged already shows in `pages`.
  Account& account = accounts_[i];
  const std::uint64_t pages = account.pages.load();
  account.state.store(pages == 0 ? State::closed : State::open);
  if (pages == 0) return {};
  return fail({.code = Errc::busy,
               .doing = "close pin account",
               .what = "pages that it pins",
               .value = pages,
               .remedy = "let go of its pins first"});
}

bool PinAccounts::charge(PinAccountId id, std::uint64_t pages) noexcept {
  const std::size_t i = number(id);
  if (i == 0) return true;
  if (i >= accounts_.size()) return false;
  Account& account = accounts_[i];
  const std::uint64_t before = account.pages.fetch_add(pages);
  if (account.state.load() == State::open &&
      before + pages <= account.limit.load(std::memory_order_relaxed)) {
    return true;
  }
  account.pages.fetch_sub(pages);
  account.refused.fetch_add(1, std::memory_order_relaxed);
  return false;
}

void PinAccounts::discharge(PinAccountId id, std::uint64_t pages) noexcept {
  const std::size_t i = number(id);
  if (i == 0) return;
  const std::uint64_t before = accounts_[i].pages.fetch_sub(pages);
  HF_DCHECK2(before >= pages, before, pages);
}

PinAccounts::View PinAccounts::view(std::size_t i) const noexcept {
  if (i >= accounts_.size() || accounts_[i].state.load() == State::closed) {
    return {.name = nullptr, .pages = 0, .limit = 0, .refused = 0};
  }
  const Account& account = accounts_[i];
  return {.name = account.name.load(std::memory_order_relaxed),
          .pages = account.pages.load(std::memory_order_relaxed),
          .limit = account.limit.load(std::memory_order_relaxed),
          .refused = account.refused.load(std::memory_order_relaxed)};
}

void PinAccounts::name_holders(Error& error, std::uint64_t all_pins) const noexcept {
  const auto enter = [&error](ErrorHolder holder) noexcept {
    for (ErrorHolder& place : error.holders) {
      if (holder.held > place.held) std::swap(holder, place);
    }
  };
  std::uint64_t general = all_pins;
  for (std::size_t i = 1; i < accounts_.size(); ++i) {
    const View account = view(i);
    if (account.name == nullptr) continue;
    enter({.name = account.name, .held = account.pages});
    general -= std::min(general, account.pages);
  }
  enter({.name = "general", .held = general});
}

}  // namespace holdfast::space
