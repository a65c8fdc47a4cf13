// What is read ahead of a stream: the runs that it will come to next are loaded by other threads,
// while the program works on the last one.
//
// They are not entered before the program comes for them: that is what tells that the stream goes
// on, and they take no more room than was set aside for them. A fault that comes too early waits
// for what is on its way, as for far memory.
#include <algorithm>
#include <array>

#include "run/client.h"

namespace holdfast::run {
namespace {

constexpr std::uint32_t kRunsAhead = 2;
constexpr std::uint64_t kStaleNs = 100'000'000;  // nobody comes for it any more

}  // namespace

// A stream has got this far. Called under the lock.
void Client::read_ahead(std::uint64_t page) {
  if (parts_.read_ahead == nullptr || is_unsettled()) return;
  for (std::uint32_t i = 0; i < kRunsAhead; ++i) {
    const std::uint64_t end = std::min(run_end(page), page + SlotLoads::kPagesMost);
    std::uint32_t count = 0;
    while (page + count < end && table_.get(page + count).is_out()) ++count;
    if (count == 0 || !begin_ahead(page, count)) return;
    page += count;
  }
}

// What stands in memory as it is needs no load. False: there may be no more of them.
bool Client::begin_ahead(std::uint64_t page, std::uint32_t count) {
  std::array<SlotIndex, SlotLoads::kPagesMost> slots;
  std::array<std::uint64_t, SlotLoads::kPagesMost> pages{};
  std::uint32_t loads = 0;
  for (std::uint32_t i = 0; i < count; ++i) {
    const Entry entry = table_.get(page + i);
    if (entry.state() != EntryState::swapped) continue;
    const SlotIndex slot = entry.slot();
    const bool is_loaded = std::ranges::any_of(
        loads_, [slot](const SlotLoads::Load* load) { return load->has(slot); });
    if (is_loaded) continue;
    slots[loads] = slot;
    pages[loads++] = page + i;
  }
  if (loads == 0) return true;
  SlotLoads::Load* const load = parts_.read_ahead->begin(std::span(slots).first(loads), kick_fd_);
  if (load == nullptr) return false;
  load->wanted = load->ahead = loads;
  load->pages = pages;
  load->ahead_since_ns = parts_.machine.now_ns();
  loads_.push_back(load);
  ++ahead_;
  return true;
}

template <typename Condition>
void Client::end_ahead_if(Condition is_over) {
  std::erase_if(loads_, [&](SlotLoads::Load* load) {
    if (!load->is_ahead() || load->waiting > 0 || !is_over(*load)) return false;
    load->end();
    --ahead_;
    return true;
  });
}

// The stream has come from there to there: what was loaded of that alone is done with.
void Client::end_ahead(std::uint64_t first, std::uint64_t next) {
  if (!reads_ahead()) return;
  end_ahead_if([&](const SlotLoads::Load& load) {
    const std::uint64_t last = load.pages[load.size() - 1];
    const bool is_over = last >= first && last < next;
    if (is_over) Counters::add(parts_.counters.read_ahead, load.size());
    return is_over;
  });
}

// Others may need the room.
void Client::end_stale_ahead() {
  if (!reads_ahead()) return;
  const std::uint64_t now = parts_.machine.now_ns();
  end_ahead_if([&](const SlotLoads::Load& load) { return now - load.ahead_since_ns > kStaleNs; });
}

}  // namespace holdfast::run
