#include "page/holder_table.h"

namespace holdfast::page {

const char* name(Holder holder) noexcept {
  switch (holder) {
    case Holder::vm:
      return "vm";
    case Holder::entry:
      return "entry";
    case Holder::pin:
      return "pin";
    case Holder::caller:
      return "caller";
  }
  return "unknown";
}

#if defined(HOLDFAST_DEBUG)
namespace {

constexpr unsigned kKindShift = 56;
constexpr std::uint64_t kAddressMask = (std::uint64_t{1} << kKindShift) - 1;

[[noreturn]] void fail_holder(const char* problem, Holder holder, FrameIndex frame) noexcept {
  char buffer[96];
  base::Text text(buffer, sizeof buffer);
  text.add("holders: ").add(problem).add(" ").add(name(holder)).add(" (frame, 0)");
  base::check_failed(__FILE__, __LINE__, buffer, frame.value, 0);
}

}  // namespace

void HolderTable::attach(std::byte* memory, std::uint64_t frames, bool call_sites) noexcept {
  // Zeroed memory of atomics of integers: nothing to construct.
  kinds_ = reinterpret_cast<Kinds*>(memory);
  sites_ = call_sites ? reinterpret_cast<Sites*>(memory + frames * sizeof(Kinds)) : nullptr;
  frames_ = frames;
}

void HolderTable::take(FrameIndex frame, Holder holder) noexcept {
  HF_DCHECK2(frame.value < frames_, frame.value, frames_);
  auto& count = kinds_[frame.value].counts[static_cast<std::size_t>(holder)];
  const std::uint32_t old = count.fetch_add(1, std::memory_order_relaxed);
  if (holder == Holder::vm && old != 0) fail_holder("a second reference of", holder, frame);
  if (sites_ != nullptr) {
    remember(sites_[frame.value], holder,
             reinterpret_cast<std::uint64_t>(__builtin_return_address(0)));
  }
}

void HolderTable::drop(FrameIndex frame, Holder holder) noexcept {
  HF_DCHECK2(frame.value < frames_, frame.value, frames_);
  auto& count = kinds_[frame.value].counts[static_cast<std::size_t>(holder)];
  if (count.fetch_sub(1, std::memory_order_relaxed) == 0) {
    fail_holder("no reference to drop of", holder, frame);
  }
  if (sites_ != nullptr) forget(sites_[frame.value], holder);
}

std::uint32_t HolderTable::count(FrameIndex frame, Holder holder) const noexcept {
  return kinds_[frame.value].counts[static_cast<std::size_t>(holder)].load(
      std::memory_order_relaxed);
}

bool HolderTable::none(FrameIndex frame) const noexcept {
  for (const auto& count : kinds_[frame.value].counts) {
    if (count.load(std::memory_order_relaxed) != 0) return false;
  }
  return true;
}

std::uint64_t HolderTable::site(FrameIndex frame, std::size_t i, Holder& holder) const noexcept {
  if (sites_ == nullptr) return 0;
  const std::uint64_t word = sites_[frame.value].words[i].load(std::memory_order_relaxed);
  holder = static_cast<Holder>(word >> kKindShift);
  return word & kAddressMask;
}

void HolderTable::remember(Sites& sites, Holder holder, std::uint64_t address) noexcept {
  const std::uint64_t word =
      static_cast<std::uint64_t>(holder) << kKindShift | (address & kAddressMask);
  for (auto& place : sites.words) {
    std::uint64_t empty = 0;
    if (place.compare_exchange_strong(empty, word, std::memory_order_relaxed)) return;
  }
  // More holders than places: the newest is the one that leaks are looked for by.
  sites.words[kSites - 1].store(word, std::memory_order_relaxed);
}

void HolderTable::forget(Sites& sites, Holder holder) noexcept {
  for (auto& place : sites.words) {
    std::uint64_t word = place.load(std::memory_order_relaxed);
    if (word == 0 || static_cast<Holder>(word >> kKindShift) != holder) continue;
    if (place.compare_exchange_strong(word, 0, std::memory_order_relaxed)) return;
  }
}
#endif

}  // namespace holdfast::page
