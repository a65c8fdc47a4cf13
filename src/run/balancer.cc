#include "run/balancer.h"

#include <unistd.h>

#include <algorithm>
#include <ctime>

namespace holdfast::run {
namespace {

constexpr std::uint64_t kMs = 1'000'000;
constexpr std::uint64_t kTouchPagesPerMs = 1300;  // what a program can touch anew: 5 GB/s
constexpr int kTickMaxMs = 50;
constexpr int kTickArmedMs = 4;
constexpr std::uint64_t kTreeNs = 20 * kMs;  // how often the tree is listed, if nothing was heard
constexpr std::uint64_t kMappingsNs = 4 * kMs;  // how old a look at mappings may be
constexpr std::uint64_t kRestPerCount = 8;      // looking takes a ninth of one CPU at most
constexpr std::uint64_t kRestPerCountBusy = 1;  // ... a half while memory is taken unasked
constexpr int kRestMaxMs = 20;                  // ... but no less often than so
constexpr std::uint64_t kHoldLeast = 64;        // pages without a frame

// Of this thread: waiting for a lock or a CPU is no cost to anybody.
std::uint64_t cpu_ns() {
  timespec time{};
  ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return static_cast<std::uint64_t>(time.tv_sec) * 1'000'000'000 +
         static_cast<std::uint64_t>(time.tv_nsec);
}

}  // namespace

void Balancer::refresh_tree(std::uint64_t now) {
  const std::uint64_t key = parts_.counters.spaces + parts_.counters.forks;
  if (!tree_.empty() && key == tree_key_ && now - tree_ns_ < kTreeNs) return;
  tree_key_ = key;
  tree_ns_ = now;
  std::vector<int> tree = descendants(::getpid());
  if (tree == tree_) return;
  tree_ = std::move(tree);
  shared_again_ns_ = 0;
  std::erase_if(processes_, [&](const auto& known) {
    return std::ranges::find(tree_, known.first) == tree_.end();
  });
}

// What processes share since a fork counts once. To tell takes 30 ns a page; in between, each fault
// may have made a copy.
std::uint64_t Balancer::count_shared_once(std::uint64_t pages) {
  const std::uint64_t begun = parts_.machine.now_ns();
  std::uint64_t faults = 0;
  for (const int pid : tree_) faults += minor_faults(pid);
  const std::uint64_t few = std::max(parts_.budget.free_pages() / 4, kHoldLeast);
  if (begun < shared_again_ns_ && faults < shared_faults_ + few) {
    return shared_pages_ + (pages > shared_sum_ ? pages - shared_sum_ : 0);
  }
  // A child that is not in the tree yet takes its part of its parent's pages: they are no fewer
  // than the largest process has.
  refresh_tree(begun + kTreeNs);
  std::uint64_t once = 0;
  std::uint64_t largest = 0;
  pages = 0;
  for (const int pid : tree_) {
    once += proportional_pages(pid);
    const std::uint64_t resident = memory_count(pid).resident;
    largest = std::max(largest, resident);
    pages += resident;
  }
  once = std::max(once, largest);
  const std::uint64_t now = parts_.machine.now_ns();
  shared_pages_ = once;
  shared_sum_ = pages;
  shared_faults_ = faults;
  shared_again_ns_ = now + (now - begun) * kRestPerCount;
  return once;
}

std::uint64_t Balancer::count() {
  std::uint64_t pages = 0;
  for (const int pid : tree_) {
    Process& process = processes_[pid];
    const MemoryCount memory = memory_count(pid);
    if (memory.mapped != process.memory.mapped || memory.writable != process.memory.writable) {
      process.looked_ns = 0;
    }
    process.memory = memory;
    pages += memory.resident;
  }
  const bool may_share = parts_.counters.forks > 0 && tree_.size() > 1;
  return may_share && pages > parts_.budget.total_pages() / 2 ? count_shared_once(pages) : pages;
}

// True: something was new.
bool Balancer::manage(std::uint64_t now) {
  bool changed = false;
  for (const Registry::Use& client : registry_.all()) {
    if (client->pid() == 0) continue;
    Process& process = processes_[client->pid()];
    if (process.looked_ns != 0 && now - process.looked_ns < kMappingsNs) continue;
    changed = changed || process.looked_ns == 0;
    client->manage_mappings();
    process.looked_ns = now;
  }
  return changed;
}

void Balancer::hold_or_release() {
  const std::uint64_t most = std::max(parts_.budget.total_pages() / 256, kHoldLeast);
  const bool hold = parts_.budget.deficit_pages() > most && !parts_.stuck.load();
  if (!hold && parts_.budget.is_low()) return;
  for (const Registry::Use& client : registry_.all()) {
    hold ? client->hold() : client->release();
  }
}

int Balancer::rest_ms(std::uint64_t cost_ns, bool busy) {
  if (!armed_) {
    const std::uint64_t free = parts_.budget.free_pages();
    return static_cast<int>(std::clamp<std::uint64_t>(free / kTouchPagesPerMs / 2, 1, kTickMaxMs));
  }
  busy = busy || parts_.budget.headroom_pages() > kHoldLeast;
  rest_ms_ = busy ? 1 : std::min(rest_ms_ * 2, kTickArmedMs);
  const std::uint64_t rest = busy ? kRestPerCountBusy : kRestPerCount;
  return std::clamp(static_cast<int>(cost_ns * rest / kMs), rest_ms_, kRestMaxMs);
}

int Balancer::look() {
  const std::uint64_t begun = parts_.machine.now_ns();
  const std::uint64_t used = cpu_ns();
  refresh_tree(begun);
  resident_ = count();
  parts_.budget.settle(resident_, armed_);
  const std::uint64_t total = parts_.budget.total_pages();
  const std::uint64_t margin = std::max<std::uint64_t>(total / 16, 4096);
  if (parts_.budget.free_pages() < std::min(margin, total / 4)) armed_ = true;
  bool busy = false;
  if (armed_) {
    busy = manage(begun) || parts_.budget.deficit_pages() > 0;
    hold_or_release();
    if (parts_.budget.is_low()) parts_.budget.wake_evictor();
  }
  return rest_ms(cpu_ns() - used, busy);
}

}  // namespace holdfast::run
