#include "page/page_state.h"

#include <array>

#include "base/base.h"

namespace holdfast::page {
namespace {

constexpr unsigned bit(PageState state) noexcept { return 1U << static_cast<unsigned>(state); }

// For each state, where the drawing's arrows lead.
constexpr std::array<unsigned, kPageStates> kArrows = [] {
  using enum PageState;
  std::array<unsigned, kPageStates> arrows{};
  const auto from = [&](PageState state) -> unsigned& {
    return arrows[static_cast<std::size_t>(state)];
  };
  from(free) = bit(held) | bit(charged);
  from(held) = bit(resident) | bit(cached) | bit(free) | bit(warm);
  from(resident) = bit(cached) | bit(orphan);
  from(cached) = bit(resident) | bit(writeback) | bit(orphan) | bit(warm) | bit(free);
  from(writeback) = bit(resident) | bit(cached) | bit(orphan) | bit(warm) | bit(free);
  from(orphan) = bit(warm) | bit(free);
  from(warm) = bit(held) | bit(free);
  from(charged) = bit(free);
  return arrows;
}();

}  // namespace

const char* name(PageState state) noexcept {
  switch (state) {
    case PageState::free:
      return "free";
    case PageState::held:
      return "held";
    case PageState::resident:
      return "resident";
    case PageState::cached:
      return "cached";
    case PageState::writeback:
      return "writeback";
    case PageState::orphan:
      return "orphan";
    case PageState::warm:
      return "warm";
    case PageState::charged:
      return "charged";
  }
  return "unknown";
}

bool is_legal(PageState from, PageState to) noexcept {
  const auto index = static_cast<std::size_t>(from);
  HF_CHECK2(index < kPageStates, from, to);
  return (kArrows[index] & bit(to)) != 0;
}

}  // namespace holdfast::page
