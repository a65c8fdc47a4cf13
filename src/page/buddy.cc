#include "page/buddy.h"

#include <algorithm>
#include <bit>
#include <utility>

namespace holdfast::page {
namespace {

template <class List, std::size_t... kOrders>
std::array<List, sizeof...(kOrders)> make_lists(std::span<Page> pages,
                                                std::index_sequence<kOrders...>) noexcept {
  return {((void)kOrders, List(pages))...};
}

constexpr std::uint32_t frames_of(unsigned order) noexcept { return 1U << order; }

}  // namespace

BuddyLists::BuddyLists(std::span<Page> pages) noexcept
    : pages_(pages),
      lists_(make_lists<List>(pages, std::make_index_sequence<kMaxOrder + 1>())),
      free_frames_(pages.size()) {}

void BuddyLists::describe_all() noexcept {
  while (describe_more()) {
  }
}

bool BuddyLists::describe_more() noexcept {
  const std::uint32_t first = described_;
  const auto end = static_cast<std::uint32_t>(
      std::min<std::uint64_t>(std::uint64_t{first} + frames_of(kMaxOrder), pages_.size()));
  if (first == end) return false;
  for (std::uint32_t i = first; i < end; ++i) pages_[i].start_free();
  described_ = end;
  give_run(first, end);
  return true;
}

void BuddyLists::give_run(std::uint32_t index, std::uint32_t end) noexcept {
  while (index < end) {
    unsigned order = std::min<unsigned>(kMaxOrder, static_cast<unsigned>(std::countr_zero(index)));
    while (index + frames_of(order) > end) --order;
    link(index, order);
    index += frames_of(order);
  }
}

std::uint32_t BuddyLists::take(unsigned order) noexcept {
  HF_DCHECK2(order <= kMaxOrder, order, kMaxOrder);
  unsigned found = order;
  while (lists_[found].empty()) {
    if (found < kMaxOrder) {
      ++found;
    } else if (describe_more()) {
      found = order;
    } else {
      return base::kNoLink;
    }
  }
  const std::uint32_t index = lists_[found].front();
  extract(index, found);
  give_rest(index, found, frames_of(order));
  return index;
}

std::uint32_t BuddyLists::take_singles(std::span<std::uint32_t> out) noexcept {
  const auto wanted = static_cast<std::uint32_t>(out.size());
  std::uint32_t got = 0;
  unsigned order = 0;
  while (got < wanted) {
    if (lists_[order].empty()) {
      if (order < kMaxOrder) {
        ++order;
      } else if (describe_more()) {
        order = 0;
      } else {
        break;
      }
      continue;
    }
    const std::uint32_t index = lists_[order].front();
    const std::uint32_t taken = std::min(wanted - got, frames_of(order));
    extract(index, order);
    for (std::uint32_t i = 0; i < taken; ++i) out[got++] = index + i;
    give_rest(index, order, taken);
  }
  return got;
}

void BuddyLists::give(std::uint32_t index, unsigned order) noexcept {
  HF_DCHECK2(order <= kMaxOrder && index % frames_of(order) == 0, index, order);
  HF_DCHECK2(!pages_[index].on_buddy_list(), index, order);
  while (order < kMaxOrder) {
    const std::uint32_t buddy = index ^ frames_of(order);
    if (!is_free_block(buddy, order)) break;
    extract(buddy, order);
    index &= ~frames_of(order);
    ++order;
  }
  insert(index, order);
}

void BuddyLists::insert(std::uint32_t index, unsigned order) noexcept {
  link(index, order);
  add_free(frames_of(order));
}

void BuddyLists::link(std::uint32_t index, unsigned order) noexcept {
  Page& head = pages_[index];
  HF_DCHECK2(head.count() == 0 && head.state() == PageState::free, index, order);
  head.set_order(order);
  head.set_on_buddy_list(true);
  lists_[order].push_front(index);
}

void BuddyLists::extract(std::uint32_t index, unsigned order) noexcept {
  Page& head = pages_[index];
  HF_DCHECK2(head.on_buddy_list() && head.order() == order, index, order);
  lists_[order].remove(index);
  head.set_on_buddy_list(false);
  head.set_order(0);
  add_free(-static_cast<std::int64_t>(frames_of(order)));
}

bool BuddyLists::is_free_block(std::uint64_t index, unsigned order) const noexcept {
  return index + frames_of(order) <= pages_.size() && pages_[index].on_buddy_list() &&
         pages_[index].order() == order;
}

void BuddyLists::give_rest(std::uint32_t index, unsigned order, std::uint32_t taken) noexcept {
  // Halve until the taken part is used up; each upper half that is untouched goes back whole. What
  // is inserted has a taken neighbour, so there is nothing to merge.
  while (taken < frames_of(order)) {
    --order;
    if (taken <= frames_of(order)) {
      insert(index + frames_of(order), order);
    } else {
      index += frames_of(order);
      taken -= frames_of(order);
    }
  }
}

}  // namespace holdfast::page
