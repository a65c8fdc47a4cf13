// Clones, snapshots and arming, as a random program makes them.
#include <algorithm>

#include "program/actor.h"

namespace holdfast::tests {
namespace {

unsigned long long number(std::uint64_t value) noexcept { return value; }

}  // namespace

// A free place takes a clone of a region or of a snapshot. Others may go on storing meanwhile: what
// they change is then not known of the clone.
void Actor::clone() {
  Program::Slot& to = program_.slots_[random_.below(kSlots)];
  if (to.model || to.changing) return;
  Program::Slot& from = program_.slots_[random_.below(kSlots)];
  const bool of_copy = !program_.copies_.empty() && random_.chance(1, 3);
  if (!of_copy && (!from.model || from.changing || from.pages == 0)) return;
  to.changing = true;
  Expected<Region> made;
  PageModel model(0);
  std::uint64_t capacity = 0;
  if (of_copy) {
    Program::HeldCopy& copy = *program_.copies_[random_.below(program_.copies_.size())];
    ++copy.users;
    made = program_.engine_->clone(copy.snapshot);
    model = copy.model.copy(copy.model.changes());
    capacity = model.pages();
    --copy.users;
  } else {
    const ClaimGuard claim(from, 0, from.pages, false, number_);
    if (!claim) {
      to.changing = false;
      return;
    }
    from.changing = true;  // its size stays
    const std::vector<std::uint64_t> before = from.model->changes();
    made = program_.engine_->clone(from.region);
    model = from.model->copy(before);
    capacity = from.capacity;
    from.changing = false;
  }
  program_.log("t%u clone to region %td: %s", number_, &to - program_.slots_.data(),
               made ? "done" : name(made.error().code));
  to.changing = false;
  if (!made) return program_.judge(made.error(), "clone");
  ++program_.probes_.copies_made;
  to.region = std::move(*made);
  to.base = reinterpret_cast<Address>(to.region.data());
  to.pages = model.pages();
  to.capacity = capacity;
  to.model.emplace(std::move(model));
  if (to.region.size() != to.pages * kPageSize) program_.fail_with("a clone has another size");
}

void Actor::snapshot() {
  if (program_.copies_.size() >= kCopiesMax) return drop_copy();
  Program::Slot& from = program_.slots_[random_.below(kSlots)];
  if (!from.model || from.changing || from.pages == 0) return;
  const ClaimGuard claim(from, 0, from.pages, false, number_);
  if (!claim) return;
  from.changing = true;
  const std::vector<std::uint64_t> before = from.model->changes();
  auto made = program_.engine_->snapshot(from.region);
  auto held = std::make_unique<Program::HeldCopy>(from.model->copy(before));
  from.changing = false;
  program_.log("t%u snapshot of region %td: %s", number_, &from - program_.slots_.data(),
               made ? "done" : name(made.error().code));
  if (!made) return program_.judge(made.error(), "snapshot");
  ++program_.probes_.copies_made;
  held->snapshot = std::move(*made);
  if (held->snapshot.size() != before.size() * kPageSize) {
    program_.fail_with("a snapshot has another size");
  }
  program_.copies_.push_back(std::move(held));
}

void Actor::read_copy() {
  if (program_.copies_.empty()) return;
  Program::HeldCopy& copy = *program_.copies_[random_.below(program_.copies_.size())];
  ++copy.users;
  const std::uint64_t pages = copy.model.pages();
  const std::uint64_t first = random_.below(pages);
  const std::uint64_t count = std::min(pages - first, random_.between(1, 24));
  const std::uint64_t way = random_.below(8);
  if (way == 0) {
    program_.check_store_refused(copy, first);
  } else if (way < 4) {
    static_cast<void>(program_.read_copy(copy, first, count));
  } else {
    for (std::uint64_t i = 0; i < count && !program_.failed(); ++i) {
      if (!program_.load_copy(copy, first + i)) break;
    }
  }
  ++program_.probes_.copies_read;
  --copy.users;
}

void Actor::drop_copy() {
  if (program_.copies_.empty()) return;
  const std::size_t index = random_.below(program_.copies_.size());
  if (program_.copies_[index]->users != 0) return;
  program_.log("t%u drop snapshot %llu", number_, number(index));
  program_.release_copy(index);
}

void Actor::arm() {
  Program::Slot& slot = program_.slots_[random_.below(kSlots)];
  if (!slot.model || slot.changing || slot.pages == 0) return;
  const ClaimGuard claim(slot, 0, slot.pages, false, number_);
  if (!claim) return;
  slot.changing = true;
  auto done = program_.engine_->arm(slot.region);
  slot.changing = false;
  if (!done) program_.judge(done.error(), "arm");
}

}  // namespace holdfast::tests
