// The choice of what to do and where; plain loads and stores. The engine's calls: actor_calls.cc.
#include "program/actor.h"

#include <algorithm>
#include <cstring>
#include <numeric>

namespace holdfast::tests {

Actor::Actor(Program& program, std::uint32_t number, std::uint64_t seed)
    : program_(program), number_(number), random_(seed) {}

Actor::ClaimGuard::ClaimGuard(Program::Slot& slot, std::uint64_t first, std::uint64_t end,
                              bool exclusive, std::uint32_t actor)
    : slot_(slot), first_(first), actor_(actor) {
  held_ = std::none_of(slot.claims.begin(), slot.claims.end(), [&](const Program::Claim& c) {
    return (exclusive || c.exclusive) && c.first < end && c.end > first;
  });
  if (held_) slot.claims.push_back({first, end, exclusive, actor});
}

Actor::ClaimGuard::~ClaimGuard() {
  if (!held_) return;
  const auto mine =
      std::find_if(slot_.claims.begin(), slot_.claims.end(),
                   [&](const Program::Claim& c) { return c.first == first_ && c.actor == actor_; });
  HF_CHECK(mine != slot_.claims.end());
  slot_.claims.erase(mine);
}

void Actor::run(std::uint32_t operations) {
  for (std::uint32_t i = 0; i < operations && !program_.failed(); ++i) {
    ++program_.probes_.operations;
    perform(draw_operation());
    if (!program_.pins_.empty()) {
      program_.check_pin(program_.pins_[random_.below(program_.pins_.size())]);
    }
  }
}

Operation Actor::draw_operation() {
  const auto& weights = program_.shape_.weights;
  const std::uint32_t sum = std::accumulate(weights.begin(), weights.end(), 0U);
  std::uint64_t draw = random_.below(sum);
  std::size_t i = 0;
  while (draw >= weights[i]) draw -= weights[i++];
  return static_cast<Operation>(i);
}

void Actor::perform(Operation operation) {
  switch (operation) {
    case Operation::load:
      return load();
    case Operation::store:
      return store();
    case Operation::fill:
      return fill();
    case Operation::sweep:
      return sweep();
    case Operation::map:
      return map();
    case Operation::unmap:
      return unmap();
    case Operation::resize:
      return resize();
    case Operation::pin:
      return pin();
    case Operation::unpin:
      return unpin();
    case Operation::prefetch:
      return prefetch();
    case Operation::advise:
      return advise();
    case Operation::allocate:
      return allocate();
    case Operation::free_block:
      return free_block();
    case Operation::reclaim:
      return reclaim();
    case Operation::stats:
      return stats();
    case Operation::clone:
      return clone();
    case Operation::snapshot:
      return snapshot();
    case Operation::read_copy:
      return read_copy();
    case Operation::drop_copy:
      return drop_copy();
    case Operation::arm:
      return arm();
  }
}

// Random places, or a walk: from somewhere onwards, sequential or strided, for a while.
std::optional<Actor::Place> Actor::draw_place(std::uint64_t pages_max) {
  if (walk_left_ == 0) {
    slot_ = static_cast<std::uint32_t>(random_.below(kSlots));
    cursor_ = random_.next() >> 8;
    stride_ = random_.chance(1, 2) ? 1 : random_.between(2, 5);
    walk_left_ = random_.chance(1, 2) ? 1 : static_cast<std::uint32_t>(random_.between(4, 24));
  }
  --walk_left_;
  Program::Slot& slot = program_.slots_[slot_];
  if (!slot.model || slot.pages == 0) {
    walk_left_ = 0;
    return std::nullopt;
  }
  const std::uint64_t first = cursor_ % slot.pages;
  cursor_ = first + stride_;
  const std::uint64_t count =
      std::min(slot.pages - first, random_.between(1, std::max<std::uint64_t>(pages_max, 1)));
  return Place{&slot, first, count};
}

// Content of every kind that the engine treats in its own way.
void Actor::make_content(std::byte* to, std::uint64_t size) {
  const std::uint64_t word = random_.next();
  const std::uint64_t kind = random_.below(5);
  const std::uint64_t same = kind == 0 ? 0 : kind == 1 ? word & 0xffff : word;
  for (std::uint64_t i = 0; i < size; i += 8) {
    std::uint64_t value = same;                             // zeros; a small word; any word
    if (kind == 3) value = i % 64 == 0 ? word + i : i / 8;  // compresses
    if (kind == 4) value = random_.next();                  // does not
    std::memcpy(to + i, &value, std::min<std::uint64_t>(8, size - i));
  }
}

void Actor::load() {
  const auto place = draw_place(3);
  if (!place) return;
  const ClaimGuard claim(*place->slot, place->first, place->first + place->count, false, number_);
  if (!claim) return;
  for (std::uint64_t i = 0; i < place->count && !program_.failed(); ++i) {
    const std::uint64_t at = random_.below(kPageSize);
    const std::uint64_t size = random_.between(1, std::min<std::uint64_t>(kPageSize - at, 64));
    if (!program_.load_piece(*place->slot, (place->first + i) * kPageSize + at, size)) return;
  }
}

void Actor::store() {
  const auto place = draw_place(3);
  if (!place) return;
  const ClaimGuard claim(*place->slot, place->first, place->first + place->count, false, number_);
  if (!claim) return;
  for (std::uint64_t i = 0; i < place->count && !program_.failed(); ++i) {
    const std::uint64_t at = random_.below(kPageSize);
    const std::uint64_t size = random_.between(1, std::min<std::uint64_t>(kPageSize - at, 64));
    make_content(buffer_.data(), size);
    const std::uint64_t offset = (place->first + i) * kPageSize + at;
    if (!program_.store_piece(*place->slot, offset, buffer_.data(), size)) return;
  }
}

void Actor::fill() {
  const auto place = draw_place(random_.chance(1, 4) ? 96 : 16);
  if (!place) return;
  const ClaimGuard claim(*place->slot, place->first, place->first + place->count, false, number_);
  if (!claim) return;
  program_.log("t%u fill region %u [%llu, +%llu)", number_, slot_,
               static_cast<unsigned long long>(place->first),
               static_cast<unsigned long long>(place->count));
  for (std::uint64_t i = 0; i < place->count && !program_.failed(); ++i) {
    make_content(buffer_.data(), kPageSize);
    const std::uint64_t offset = (place->first + i) * kPageSize;
    if (!program_.store_piece(*place->slot, offset, buffer_.data(), kPageSize)) return;
  }
}

void Actor::sweep() {
  const auto place = draw_place(96);
  if (!place) return;
  const ClaimGuard claim(*place->slot, place->first, place->first + place->count, false, number_);
  if (!claim) return;
  program_.log("t%u sweep region %u [%llu, +%llu)", number_, slot_,
               static_cast<unsigned long long>(place->first),
               static_cast<unsigned long long>(place->count));
  for (std::uint64_t i = 0; i < place->count && !program_.failed(); ++i) {
    const std::uint64_t offset = (place->first + i) * kPageSize;
    if (!program_.load_piece(*place->slot, offset, kPageSize)) return;
  }
}

}  // namespace holdfast::tests
