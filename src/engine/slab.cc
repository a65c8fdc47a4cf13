#include "engine/slab.h"

#include <bit>

namespace holdfast::engine {

Slab::Slab(std::uintptr_t address, std::uint32_t size_class)
    : address_(address),
      size_class_(size_class),
      slots_(static_cast<std::uint32_t>(kSlabBytes / kSlotSizes[size_class])),
      taken_(std::make_unique<std::uint64_t[]>((slots_ + 63) / 64)) {
  HF_CHECK2(address % kSlabBytes == 0, address, size_class);
  // Slots that do not exist are taken for ever.
  if (slots_ % 64 != 0) taken_[words() - 1] = ~std::uint64_t{0} << (slots_ % 64);
}

std::uintptr_t Slab::take() noexcept {
  HF_CHECK(!full());
  std::uint32_t word = hint_;
  while (taken_[word] == ~std::uint64_t{0}) ++word;
  HF_DCHECK(word < words());
  hint_ = word;
  const auto bit = static_cast<std::uint32_t>(std::countr_one(taken_[word]));
  taken_[word] |= std::uint64_t{1} << bit;
  ++used_;
  return address_ + std::uintptr_t{word * 64 + bit} * kSlotSizes[size_class_];
}

void Slab::give(std::uintptr_t address) noexcept {
  const std::uintptr_t offset = address - address_;
  const std::uint32_t size = kSlotSizes[size_class_];
  HF_CHECK2(offset < std::uintptr_t{slots_} * size && offset % size == 0, address, size);
  const auto slot = static_cast<std::uint32_t>(offset / size);
  const std::uint64_t mask = std::uint64_t{1} << (slot % 64);
  HF_CHECK2((taken_[slot / 64] & mask) != 0, address, size);  // else it was freed twice
  taken_[slot / 64] &= ~mask;
  if (slot / 64 < hint_) hint_ = slot / 64;
  --used_;
}

void Slab::check() const {
  std::uint32_t taken = 0;
  for (std::uint32_t word = 0; word < words(); ++word) {
    taken += static_cast<std::uint32_t>(std::popcount(taken_[word]));
    HF_CHECK2(word >= hint_ || taken_[word] == ~std::uint64_t{0}, word, hint_);
  }
  HF_CHECK2(taken - (words() * 64 - slots_) == used_, taken, used_);
}

void SlabList::push(Slab& slab) noexcept {
  HF_DCHECK(slab.previous_ == nullptr && slab.next_ == nullptr && head_ != &slab);
  slab.next_ = head_;
  if (head_ != nullptr) head_->previous_ = &slab;
  head_ = &slab;
  slab.place = place_;
}

void SlabList::remove(Slab& slab) noexcept {
  HF_CHECK(slab.place == place_);
  if (slab.previous_ != nullptr) {
    slab.previous_->next_ = slab.next_;
  } else {
    HF_CHECK(head_ == &slab);
    head_ = slab.next_;
  }
  if (slab.next_ != nullptr) slab.next_->previous_ = slab.previous_;
  slab.previous_ = nullptr;
  slab.next_ = nullptr;
  slab.place = Slab::Place::nowhere;
}

Slab* SlabList::pop() noexcept {
  Slab* const slab = head_;
  if (slab != nullptr) remove(*slab);
  return slab;
}

}  // namespace holdfast::engine
