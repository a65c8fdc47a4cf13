#include "space/fault.h"

#include <algorithm>
#include <cerrno>

namespace holdfast::space {
namespace {
// Attempts before a fault gives up: each ended because somebody else changed the entry or took the
// frames that relief had made. Far more than contention explains; a bound all the same.
constexpr int kAttemptsMax = 10000;
// How often a fault asks again where frames were free, but the kernel had no memory for a page, or
// there was no place for a copy.
constexpr int kScarceMax = 32;
constexpr std::uint32_t kAdvisedRun = kRunMax;
}  // namespace

RunPlan FaultServer::plan_for(RegionRecord& region, std::uint64_t index) noexcept {
  switch (region.advice.load(std::memory_order_relaxed)) {
    case Advice::sequential:
      return {kAdvisedRun, 1};
    case Advice::random:
      return {1, 1};
    default:
      return region.streams.plan(index);
  }
}

Expected<std::uint32_t> FaultServer::bring_in(RegionRecord& region, std::uint64_t index,
                                              RunPlan plan, sys::Access access,
                                              swap::Reach reach) noexcept {
  int scarce = 0;
  plan = with_neighbours(region, index, plan);
  if (region.from_file) expect_beyond(region, index, plan);
  // Memory that holds nothing yet is refused before that which does.
  const page::Priority priority = region.entry(index).peek().kind() == EntryKind::none
                                      ? page::Priority::fresh
                                      : page::Priority::normal;
  Fetched fetched(*this);
  for (int tries = 0; tries < kAttemptsMax; ++tries) {
    const Outcome outcome = attempt(region, index, plan, access, priority, fetched);
    if (outcome.failed) return fail(outcome.error);
    if (outcome.step == Step::done) {
      if (outcome.pages > 1) region.streams.brought(index - plan.before, plan, outcome.pages);
      return outcome.pages;
    }
    if (outcome.step == Step::far) {
      if (reach == swap::Reach::here) return fail({.code = Errc::would_block, .doing = "fault"});
      fetch(region, index, plan, fetched);
      continue;
    }
    const bool is_scarce = outcome.step == Step::no_memory || outcome.step == Step::no_places;
    if (is_scarce && ++scarce > kScarceMax) break;
    if (!settle_for_less(plan, outcome.step, priority)) break;
  }
  parts_.counters.add(Count::refused_memory);
  return fail(out_of_frames(region, index));
}

// What is scarce or contended is asked for in less. False: nothing can leave any more.
bool FaultServer::settle_for_less(RunPlan& plan, Step why, page::Priority priority) noexcept {
  if (why != Step::again) {
    parts_.counters.add(Count::reclaim_direct);
    // Places for copies come free when pages leave, however many frames are free.
    const std::uint64_t more = why == Step::no_places ? parts_.pool.free_count() : 0;
    const auto wanted = static_cast<std::uint32_t>(plan.pages + more);
    if (!parts_.relief->relieve(wanted, priority)) return false;
  } else {
    sync::parking().relax();
  }
  plan.pages = std::max(1U, plan.pages / 2);
  plan.before = std::min(plan.before, plan.pages - 1);
  return true;
}

Error FaultServer::out_of_frames(const RegionRecord& region, std::uint64_t index) noexcept {
  return {.code = Errc::out_of_memory,
          .os_errno = ENOMEM,
          .doing = "bring a page in",
          .what = "free frames, for the page at address",
          .value = region.address_of(index),
          .limit = 0,
          .remedy = "unpin memory, raise memory_budget, or add a swap tier with room"};
}

// What an enter that stopped with `error` before the page that faulted means for the fault.
FaultServer::Outcome FaultServer::stopped(int error, const char* doing, Address address) noexcept {
  if (error == EAGAIN) return Outcome::retry(Step::again);
  if (error == ENOMEM) return Outcome::retry(Step::no_memory);
  return Outcome::refused({.code = Errc::system,
                           .os_errno = error,
                           .doing = doing,
                           .what = "address",
                           .value = address,
                           .remedy = "the mapping was changed behind the engine"});
}

FaultServer::Outcome FaultServer::attempt(RegionRecord& region, std::uint64_t index, RunPlan plan,
                                          sys::Access access, page::Priority priority,
                                          const Fetched& fetched) noexcept {
  Entry& entry = region.entry(index);
  EntryValue now;
  if (entry.unlocked_value(now) && now.kind() == EntryKind::resident) {
    if (access == sys::Access::write && !region.read_only) return write(region, index);
    parts_.counters.add(Count::faults_spurious);
    return {};
  }
  const EntryValue hint = entry.peek();
  if (hint.kind() == EntryKind::swapped) parts_.swap.prefetch(hint.slot());
  if (!sharing_.is_ready(region, index)) sharing_.make_ready(region, index);
  if (is_far(hint) && fetched.find(hint.slot()) == nullptr) return Outcome::retry(Step::far);
  if (!pay_for_leaf(region, index)) return Outcome::retry(Step::no_frames);
  StagingBuffer staging(parts_.staging);
  page::Reservation frames = parts_.pool.reserve(std::clamp(plan.pages, 1U, kRunMax), priority);
  if (entry.lock()) parts_.counters.add(Count::faults_waited);
  const EntryKind kind = entry.peek().kind();
  if (kind == EntryKind::resident) {
    entry.unlock();
    if (access == sys::Access::write && !region.read_only) return Outcome::retry(Step::again);
    parts_.counters.add(Count::faults_spurious);
    return {};
  }
  if (!sharing_.is_ready(region, index)) {
    entry.unlock();
    return Outcome::retry(Step::again);
  }
  if (kind == EntryKind::cached) {
    const bool changes = access == sys::Access::write && !region.read_only;
    if (changes && leave_to_others(region, index)) return Outcome::retry(Step::again);
    return rescue(region, index, plan, frames);
  }
  if (frames.size() == 0) {
    entry.unlock();
    return Outcome::retry(Step::no_frames);
  }
  return run(region, index, plan, frames, staging, fetched);
}

bool FaultServer::pay_for_leaf(RegionRecord& region, std::uint64_t index) noexcept {
  std::atomic<std::uint8_t>& paid = region.leaves[index / kLeafEntries];
  for (;;) {
    if (paid.load(std::memory_order_acquire) != 0) return true;
    // While a clone is made of the region, what was never touched must not appear from nowhere. We
    // say that we are about to mark a leaf and then look for a copy; a copy does the reverse.
    region.marking.fetch_add(1, std::memory_order_seq_cst);
    const std::uint32_t frozen = region.frozen.load(std::memory_order_seq_cst);
    HF_INTERLEAVE();
    if (frozen == 0) break;
    region.marking.fetch_sub(1, std::memory_order_seq_cst);
    sync::parking().wait(region.frozen, frozen, 0);
  }
  const bool charged = parts_.pool.charge(1, page::Priority::normal);
  std::uint8_t expected = 0;
  if (charged && paid.compare_exchange_strong(expected, 1, std::memory_order_acq_rel)) {
    region.leaves_charged.fetch_add(1, std::memory_order_relaxed);
  } else if (charged) {
    parts_.pool.uncharge(1);  // another thread paid meanwhile
  }
  region.marking.fetch_sub(1, std::memory_order_seq_cst);
  return charged;
}

}  // namespace holdfast::space
