// How a fault waits for a page that is on its way from beyond this machine, was read ahead, or
// comes from a device that several threads wait for: aside, while others are served.
//
// Its entry stays as it is. When the load has arrived the fault is served anew, whatever its page
// is by then: what the load has is looked up by slot, of which it has held a count, so a page that
// was moved or shared meanwhile is found and one that was thrown away is not.
#include <algorithm>
#include <array>

#include "run/client.h"

namespace holdfast::run {

// What the helper waits for makes room for the others.
void Client::take_arrived() {
  const int helper = helper_thread_.load();
  std::erase_if(far_faults_, [&](const Fault& fault) {
    if (!fault.load->has_arrived()) return false;
    fault.thread == helper ? pending_.push_front(fault) : pending_.push_back(fault);
    return true;
  });
}

// The first of what was gathered, `count` pages for the fault and the rest ahead of it, is far.
Client::Served Client::wait_for_far(Fault& fault, std::uint32_t count, std::uint32_t total) {
  leave_load(fault);  // it had other content
  SlotLoads::Load* load = on_its_way(sources_[0].entry);
  if (load == nullptr && parts_.far_loads != nullptr) load = begin_load(count, total);
  // It has arrived just now; or there is no room for one.
  if (load == nullptr) return Served::again;
  fault.load = load;
  ++load->waiting;
  return Served::far;
}

// The load that brings this entry's content, and has not yet; null: none does.
SlotLoads::Load* Client::on_its_way(Entry entry) const noexcept {
  if (loads_.empty() || entry.state() != EntryState::swapped) return nullptr;
  const auto found = std::ranges::find_if(loads_, [&](const SlotLoads::Load* load) {
    return !load->has_arrived() && load->has(entry.slot());
  });
  return found != loads_.end() ? *found : nullptr;
}

// Null: as many as there may be are on their way.
SlotLoads::Load* Client::begin_load(std::uint32_t count, std::uint32_t total) {
  std::array<SlotIndex, SlotLoads::kPagesMost> slots;
  std::array<std::uint64_t, SlotLoads::kPagesMost> pages{};
  std::uint32_t far = 0;
  std::uint32_t ahead = 0;
  for (std::uint32_t i = 0; i < total && far < SlotLoads::kPagesMost; ++i) {
    if (sources_[i].has != Source::Has::far) continue;
    slots[far] = sources_[i].entry.slot();
    pages[far++] = sources_[i].page;
    if (i < count) ahead = far;
  }
  SlotLoads::Load* const load = parts_.far_loads->begin(std::span(slots).first(far), kick_fd_);
  if (load == nullptr) return nullptr;
  load->wanted = count;
  load->ahead = ahead;
  load->pages = pages;
  loads_.push_back(load);
  return load;
}

void Client::leave_load(Fault& fault) {
  SlotLoads::Load* const load = std::exchange(fault.load, nullptr);
  if (load == nullptr || --load->waiting > 0 || load->is_ahead()) return;
  std::erase(loads_, load);
  load->end();
}

const swap::LoadItem* Client::arrived(SlotIndex slot) const noexcept {
  for (const SlotLoads::Load* const load : loads_) {
    if (!load->has_arrived()) continue;
    const swap::LoadItem* const item = load->find(slot);
    // Whoever wants what could not be read ahead tries for himself.
    if (item != nullptr && (item->ok || !load->is_ahead())) return item;
  }
  return nullptr;
}

// As gather_ahead(): what the load has beside what the fault is served with, where that still is
// where it was.
std::uint32_t Client::gather_arrived(const SlotLoads::Load& load, std::uint32_t count,
                                     std::uint32_t& room) {
  const std::uint32_t most = load.size() - load.ahead;
  room = most == 0 ? 0 : parts_.budget.take_spare(most);
  std::uint32_t total = count;
  for (std::uint32_t i = load.ahead; i < load.size() && total - count < room; ++i) {
    const std::uint64_t page = load.pages[i];
    if (page - sources_[0].page < count) continue;
    const Entry entry = table_.get(page);
    const bool is_there = entry.state() == EntryState::swapped && load.has(entry.slot());
    if (is_there) sources_[total++] = {.page = page, .entry = entry};
  }
  return total;
}

}  // namespace holdfast::run
