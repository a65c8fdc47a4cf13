// Fetching pages that are beyond this machine, with nothing held: see far_rooms.h.
#include <utility>

#include "space/fault.h"

namespace holdfast::space {

bool FaultServer::Fetched::begin(SlotIndex slot) noexcept {
  drop();
  room_ = server_.parts_.far_rooms->take(slot);
  return room_ != nullptr;
}

// The slot is the caller's, who has its entry locked.
void FaultServer::Fetched::add(SlotIndex slot) noexcept {
  server_.parts_.swap.get(slot);
  room_->add(slot);
}

void FaultServer::Fetched::load() noexcept { server_.parts_.swap.load(room_->items()); }

void FaultServer::Fetched::drop() noexcept {
  if (room_ == nullptr) return;
  for (const swap::LoadItem& item : room_->items()) server_.sharing_.put_slot(item.slot);
  server_.parts_.far_rooms->give(*std::exchange(room_, nullptr));
}

bool FaultServer::is_far(EntryValue value) const noexcept {
  return parts_.far_rooms != nullptr && value.kind() == EntryKind::swapped &&
         parts_.swap.is_far(value.slot());
}

// False: the page is there, or is not to be touched just now; nothing is locked.
bool FaultServer::lock_absent(RegionRecord& region, std::uint64_t index) noexcept {
  Entry& entry = region.entry(index);
  if (entry.lock()) parts_.counters.add(Count::faults_waited);
  if (entry.peek().is_absent() && sharing_.is_ready(region, index)) return true;
  entry.unlock();
  return false;
}

// Fetches the page, and those that the plan names which are far too, if it still is. Whatever comes
// of it, the fault looks anew.
void FaultServer::fetch(RegionRecord& region, std::uint64_t index, RunPlan plan,
                        Fetched& fetched) noexcept {
  fetched.drop();
  if (!lock_absent(region, index)) return;
  const EntryValue value = sharing_.content_of(region, index, region.entry(index).peek());
  region.entry(index).unlock();
  if (!is_far(value) || !fetched.begin(value.slot())) return;
  if (!lock_absent(region, index)) return fetched.drop();
  const LockedRun run = lock_run(region, index, plan, kRunMax);
  const bool wanted = is_far(content(run, run.primary));
  for (std::uint32_t i = 0; i < run.pages; ++i) {
    const EntryValue each = content(run, i);
    if (wanted && is_far(each)) fetched.add(each.slot());
    run.entry(i).unlock();
  }
  wanted ? fetched.load() : fetched.drop();
}

}  // namespace holdfast::space
