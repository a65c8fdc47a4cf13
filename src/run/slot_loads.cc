#include "run/slot_loads.h"

#include <unistd.h>

#include <algorithm>

namespace holdfast::run {

const swap::LoadItem* SlotLoads::Load::find(SlotIndex slot) const noexcept {
  for (const swap::LoadItem& item : std::span(items_).first(count_)) {
    if (item.slot == slot) return item.is_beyond ? nullptr : &item;
  }
  return nullptr;
}

bool SlotLoads::Load::has(SlotIndex slot) const noexcept {
  return std::ranges::any_of(std::span(items_).first(count_),
                             [slot](const swap::LoadItem& item) { return item.slot == slot; });
}

Expected<std::unique_ptr<SlotLoads>> SlotLoads::create(sys::Machine& machine, swap::Swap& swap,
                                                       const Options& options) {
  std::unique_ptr<SlotLoads> made(new SlotLoads(machine, swap, options.reach));
  const std::uint64_t bytes = pages_of(options.loads) * kPageSize;
  made->memory_ = TRY(machine.reserve(bytes, kPageSize, sys::Purpose::table));
  made->bytes_ = bytes;
  for (std::uint32_t i = 0; i < options.loads; ++i) {
    Load& load = made->loads_.emplace_back();
    load.owner_ = made.get();
    load.room_ = machine.view(made->memory_ + pages_of(i) * kPageSize);
    made->free_.push_back(&load);
  }
  for (std::uint32_t i = 0; i < options.threads; ++i) {
    made->threads_.push_back(TRY(machine.start_thread("holdfast-load", &SlotLoads::main, &*made)));
  }
  return made;
}

SlotLoads::~SlotLoads() {
  {
    const std::lock_guard lock(mutex_);
    stopped_ = true;
  }
  due_.notify_all();
  for (const auto& thread : threads_) thread->join();
  if (bytes_ != 0) machine_.release(memory_, bytes_);
}

SlotLoads::Load* SlotLoads::begin(std::span<const SlotIndex> slots, int tell) {
  HF_CHECK2(!slots.empty() && slots.size() <= kPagesMost, slots.size(), kPagesMost);
  const std::lock_guard lock(mutex_);
  if (free_.empty()) return nullptr;
  Load& load = *free_.back();
  free_.pop_back();
  load.count_ = static_cast<std::uint32_t>(slots.size());
  for (std::uint32_t i = 0; i < load.count_; ++i) {
    swap_.get(slots[i]);
    load.items_[i] = {.slot = slots[i], .page = load.room_ + i * kPageSize};
  }
  load.waiting = load.wanted = load.ahead = 0;
  load.ahead_since_ns = 0;
  load.tell_ = tell;
  load.on_its_way_ = true;
  load.arrived_.store(false, std::memory_order_relaxed);
  waiting_.push_back(&load);
  due_.notify_one();
  return &load;
}

void SlotLoads::end(Load& load) {
  const std::lock_guard lock(mutex_);
  load.tell_ = -1;
  if (std::erase(waiting_, &load) != 0) load.on_its_way_ = false;
  if (!load.on_its_way_) forget(load);  // else the thread that has it does so
}

void SlotLoads::run() {
  std::unique_lock lock(mutex_);
  for (;;) {
    due_.wait(lock, [this] { return stopped_ || !waiting_.empty(); });
    if (waiting_.empty()) return;
    Load& load = *waiting_.front();
    waiting_.pop_front();
    lock.unlock();
    swap_.load(std::span(load.items_).first(load.count_), reach_);
    lock.lock();
    load.on_its_way_ = false;
    load.arrived_.store(true, std::memory_order_release);
    if (load.tell_ < 0) {
      forget(load);
      continue;
    }
    const std::uint64_t one = 1;
    [[maybe_unused]] const ssize_t written = ::write(load.tell_, &one, sizeof one);
  }
}

// Called under the mutex.
void SlotLoads::forget(Load& load) {
  for (const swap::LoadItem& item : std::span(load.items_).first(load.count_)) {
    const FrameIndex frame = swap_.put(item.slot);
    HF_CHECK(frame.is_none());
  }
  load.count_ = 0;
  free_.push_back(&load);
}

}  // namespace holdfast::run
