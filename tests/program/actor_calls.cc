// The engine's calls, as a random program makes them.
#include <algorithm>
#include <cstring>

#include "program/actor.h"

namespace holdfast::tests {
namespace {

unsigned long long number(std::uint64_t value) noexcept { return value; }

}  // namespace

void Actor::map() {
  const auto slot_index = random_.below(kSlots);
  Program::Slot& slot = program_.slots_[slot_index];
  if (slot.model || slot.changing) return;
  const std::uint64_t pages = random_.between(1, program_.shape_.region_pages_max);
  const std::uint64_t capacity =
      random_.chance(1, 2) ? 0 : pages + random_.below(program_.shape_.budget_pages);
  slot.changing = true;
  auto region = program_.engine_->map_anonymous(pages * kPageSize, capacity * kPageSize);
  program_.log("t%u map region %llu: %llu pages, capacity %llu: %s", number_, number(slot_index),
               number(pages), number(capacity), region ? "done" : name(region.error().code));
  if (!region) {
    slot.changing = false;
    return program_.judge(region.error(), "map");
  }
  slot.region = std::move(*region);
  slot.base = reinterpret_cast<Address>(slot.region.data());
  slot.pages = pages;
  slot.capacity = std::max(capacity, pages);
  slot.model.emplace(pages);
  slot.changing = false;
  if (slot.base % kHugeSize != 0) program_.fail_with("a region is not aligned to 2 MiB");
  if (slot.region.size() != pages * kPageSize) program_.fail_with("a region has another size");
}

void Actor::unmap() {
  Program::Slot& slot = program_.slots_[random_.below(kSlots)];
  if (!slot.model || slot.changing || !slot.claims.empty()) return;
  program_.log("t%u unmap region %td", number_, &slot - program_.slots_.data());
  slot.changing = true;
  slot.model.reset();
  slot.pages = 0;
  Region region = std::move(slot.region);
  auto done = region.unmap();
  slot.changing = false;
  if (!done) return program_.judge(done.error(), "unmap");
  auto again = region.unmap();
  if (again || again.error().code != Errc::not_mapped) {
    program_.fail_with("a second unmap is not refused as not_mapped");
  }
}

void Actor::resize() {
  Program::Slot& slot = program_.slots_[random_.below(kSlots)];
  if (!slot.model || slot.changing) return;
  if (random_.chance(1, 8)) {
    auto refused = slot.region.resize((slot.capacity + 1) * kPageSize);
    if (refused || refused.error().code != Errc::invalid_argument) {
      program_.fail_with("a resize beyond the capacity is not refused as invalid_argument");
    }
    return;
  }
  const std::uint64_t pages = random_.between(1, slot.capacity);
  if (pages == slot.pages) return;
  slot.changing = true;
  if (pages > slot.pages) {
    grow(slot, pages);
  } else {
    shrink(slot, pages);
  }
  slot.changing = false;
}

void Actor::grow(Program::Slot& slot, std::uint64_t pages) {
  auto done = slot.region.resize(pages * kPageSize);
  program_.log("t%u grow region %td to %llu: %s", number_, &slot - program_.slots_.data(),
               number(pages), done ? "done" : name(done.error().code));
  if (!done) return program_.judge(done.error(), "grow");
  slot.model->resize(pages);
  slot.pages = pages;
}

void Actor::shrink(Program::Slot& slot, std::uint64_t pages) {
  const std::uint64_t old = slot.pages;
  const ClaimGuard claim(slot, pages, old, true, number_);
  if (!claim) return;
  slot.pages = pages;  // nobody goes there any more
  auto done = slot.region.resize(pages * kPageSize);
  program_.log("t%u shrink region %td to %llu: %s", number_, &slot - program_.slots_.data(),
               number(pages), done ? "done" : name(done.error().code));
  if (done) return slot.model->resize(pages);
  slot.pages = old;
  if (done.error().code == Errc::busy) return;  // a pin: nothing was cut off
  for (std::uint64_t page = pages; page < old; ++page) slot.model->forget(page);
  program_.judge(done.error(), "shrink");
}

void Actor::pin() {
  const auto place = draw_place(random_.chance(1, 4) ? 12 : 2);
  if (!place) return;
  if (program_.held_pages() + place->count > program_.shape_.held_pages_max) return unpin();
  const ClaimGuard claim(*place->slot, place->first, place->first + place->count, false, number_);
  if (!claim) return;
  const std::uint64_t lead = random_.below(kPageSize);  // any alignment: whole pages are pinned
  const Address address = place->slot->base + place->first * kPageSize + lead;
  program_.held_pages_ += place->count;
  auto pin = program_.engine_->pin(reinterpret_cast<const void*>(address),
                                   place->count * kPageSize - lead);
  program_.log("t%u pin region %u [%llu, +%llu): %s", number_, slot_, number(place->first),
               number(place->count), pin ? "done" : name(pin.error().code));
  if (pin) return keep_pin(std::move(*pin), *place);
  program_.held_pages_ -= place->count;
  if (pin.error().code != Errc::pins_exceeded) program_.judge(pin.error(), "pin");
}

void Actor::keep_pin(Pin pin, const Place& place) {
  if (pin.pages() != place.count) program_.fail_with("a pin has another number of pages");
  Program::HeldPin held;
  held.first = place.slot->base + place.first * kPageSize;
  for (std::uint64_t i = 0; i < place.count; ++i) {
    const Address page = held.first + i * kPageSize;
    if (!program_.machine_.is_present(page)) {
      return program_.fail_with("page %llu of a new pin is not resident", number(i));
    }
    held.views.push_back(program_.machine_.view(page));
  }
  held.pin = std::move(pin);
  program_.pins_.push_back(std::move(held));
}

void Actor::unpin() {
  if (program_.pins_.empty()) return;
  program_.release_pin(random_.below(program_.pins_.size()));
}

void Actor::prefetch() {
  const auto place = draw_place(48);
  if (!place) return;
  const ClaimGuard claim(*place->slot, place->first, place->first + place->count, false, number_);
  if (!claim) return;
  auto count = place->slot->region.prefetch(place->first * kPageSize, place->count * kPageSize);
  program_.log("t%u prefetch region %u [%llu, +%llu): %s", number_, slot_, number(place->first),
               number(place->count), count ? "done" : name(count.error().code));
  if (!count) return program_.judge(count.error(), "prefetch");
  // A page that comes in and is pushed out by others may come in once more; alone it cannot be.
  const bool alone = program_.shape_.threads == 1 && !program_.shape_.engine.background_reclaim;
  if (alone && *count > place->count) {
    program_.fail_with("prefetch brought in more than was asked for");
  }
}

void Actor::advise() {
  const auto place = draw_place(48);
  if (!place) return;
  const Advice advice = random_.pick({Advice::normal, Advice::sequential, Advice::random,
                                      Advice::will_need, Advice::cold, Advice::free, Advice::free});
  if (advice == Advice::free) return advise_free(*place);
  const ClaimGuard claim(*place->slot, place->first, place->first + place->count, false, number_);
  if (!claim) return;
  auto done =
      place->slot->region.advise(place->first * kPageSize, place->count * kPageSize, advice);
  program_.log("t%u advise %d region %u [%llu, +%llu): %s", number_, static_cast<int>(advice),
               slot_, number(place->first), number(place->count),
               done ? "done" : name(done.error().code));
  if (!done) program_.judge(done.error(), "advise");
}

// Only whole pages inside the range are freed; each end may cut through a page.
void Actor::advise_free(const Place& place) {
  Program::Slot& slot = *place.slot;
  const ClaimGuard claim(slot, place.first, place.first + place.count, true, number_);
  if (!claim) return;
  const std::uint64_t cut_front = random_.chance(1, 2) ? 0 : random_.below(kPageSize);
  const std::uint64_t cut_back =
      random_.chance(1, 2) ? 0 : random_.below(kPageSize - (place.count == 1 ? cut_front : 0));
  auto done = slot.region.advise(place.first * kPageSize + cut_front,
                                 place.count * kPageSize - cut_front - cut_back, Advice::free);
  program_.log("t%u free region %u [%llu, +%llu) cut %llu %llu: %s", number_, slot_,
               number(place.first), number(place.count), number(cut_front), number(cut_back),
               done ? "done" : name(done.error().code));
  if (!done && done.error().code == Errc::busy) return;  // a pin: nothing was freed
  const std::uint64_t first = place.first + (cut_front != 0 ? 1 : 0);
  const std::uint64_t end = place.first + place.count - (cut_back != 0 ? 1 : 0);
  for (std::uint64_t page = first; page < end; ++page) {
    done ? slot.model->clear(page) : slot.model->forget(page);
  }
  if (!done) program_.judge(done.error(), "advise free");
}

void Actor::allocate() {
  const auto order = static_cast<unsigned>(random_.below(4));
  const std::uint64_t pages = std::uint64_t{1} << order;
  if (program_.held_pages() + pages > program_.shape_.held_pages_max) return free_block();
  program_.held_pages_ += pages;
  auto block = program_.engine_->allocate_pages(order);
  if (!block) {
    program_.held_pages_ -= pages;
    // Free frames may be scattered: no bug of the engine's above order 0.
    if (order > 0 && block.error().code == Errc::out_of_memory) return;
    return program_.judge(block.error(), "allocate");
  }
  const auto address = reinterpret_cast<Address>(*block);
  if (address % (pages * kPageSize) != 0) program_.fail_with("a block is not naturally aligned");
  const Program::HeldBlock held{*block, order, program_.next_tag_++};
  for (std::uint64_t i = 0; i < pages; ++i) {
    std::byte* bytes = program_.machine_.view(address + i * kPageSize);
    if (std::any_of(bytes, bytes + kPageSize, [](std::byte b) { return b != std::byte{0}; })) {
      program_.fail_with("page %llu of a new block shows somebody's bytes", number(i));
    }
    std::memcpy(bytes, &held.tag, sizeof held.tag);
    std::memcpy(bytes + kPageSize - sizeof held.tag, &held.tag, sizeof held.tag);
  }
  program_.blocks_.push_back(held);
}

void Actor::free_block() {
  if (program_.blocks_.empty()) return;
  program_.release_block(random_.below(program_.blocks_.size()));
}

void Actor::reclaim() {
  const std::uint64_t pages = random_.between(1, program_.shape_.budget_pages);
  const std::uint64_t gone = program_.engine_->reclaim(pages);
  program_.log("t%u reclaim %llu: %llu left", number_, number(pages), number(gone));
}

void Actor::stats() {
  const Stats stats = program_.engine_->stats();
  if (stats.frames_total > program_.shape_.budget_pages) {
    program_.fail_with("there are more frames than the budget has pages");
  }
  if (program_.held_pages() == 0 && program_.shape_.threads == 1 && stats.pins != 0) {
    program_.fail_with("%llu pins are counted and none is held", number(stats.pins));
  }
}

}  // namespace holdfast::tests
