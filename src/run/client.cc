#include "run/client.h"

#include <poll.h>
#include <sched.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "run/registry.h"

namespace holdfast::run {
namespace {

constexpr int kStarvedMs = 2;     // how soon a fault without room asks again, if nobody wakes it
constexpr int kHelperBusyMs = 1;  // how soon to look whether a helper has answered
constexpr int kUnsettledMs = 1;   // how soon to ask whether events are still to come
constexpr int kUnsureMs = 200;    // how often to ask whether an unknown process still lives
constexpr int kAheadMs = 100;     // how soon to look for what was read ahead, and nobody wants
constexpr int kClosingMs = 2;     // the same once its helper has gone

}  // namespace

Client::Client(Parts& parts, int userfault)
    : parts_(parts), memory_(userfault), kick_fd_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
  Counters::add(parts_.counters.spaces);
}

Client::~Client() {
  if (thread_) thread_->join();
  if (staging_ != nullptr) {
    parts_.machine.release(reinterpret_cast<Address>(staging_), kBatchMax * kPageSize);
  }
  if (kick_fd_ >= 0) ::close(kick_fd_);
}

Expected<void> Client::start() {
  const Address staging =
      TRY(parts_.machine.reserve(kBatchMax * kPageSize, kPageSize, sys::Purpose::table));
  staging_ = parts_.machine.view(staging);
  thread_ = TRY(parts_.machine.start_thread("holdfast-pager", &Client::main, this));
  return {};
}

int Client::adopt(int pid, int connection, const Area& area) {
  const std::lock_guard lock(mutex_);
  const int error = memory_.attach(pid);
  if (error != 0) return error;
  const Range pool{area.pool, area.pool + kPoolBytes};
  // Empty in every child, and missing there, so that its first touch is a fault of the child's. A
  // forked process has inherited it, registered.
  const Range beacon{area.beacon, area.beacon + kPageSize};
  if (const int refused = memory_.register_range(pool); refused != 0) return refused;
  if (const int refused = memory_.register_range(beacon); refused != 0) return refused;
  protected_.push_back({area.start, area.start + area.bytes});
  protected_.push_back(beacon);
  beacon_ = area.beacon;
  helper_.connect(connection, area);
  pid_.store(pid, std::memory_order_release);
  kick();
  return 0;
}

void Client::kick() noexcept {
  const std::uint64_t one = 1;
  [[maybe_unused]] const ssize_t written = ::write(kick_fd_, &one, sizeof one);
}

void Client::main(void* self) { static_cast<Client*>(self)->run(); }

void Client::run() {
  const sched_param least{.sched_priority = 1};
  is_first_ = ::sched_setscheduler(0, SCHED_FIFO | SCHED_RESET_ON_FORK, &least) == 0;
  while (life() == Life::running) {
    bool helper_busy = false;
    bool unsettled = false;
    int connection = -1;
    {
      const std::lock_guard lock(mutex_);
      // The evictor itself waits for the end of an unsharing.
      if (helper_.under_way() && !unsharing_.load()) finish_command(0);
      helper_busy = helper_.holds_events();
      unsettled = is_unsettled();
      connection = helper_.connection();
    }
    const int timeout = helper_busy      ? kHelperBusyMs
                        : unsettled      ? kUnsettledMs
                        : waits_for_us() ? kStarvedMs
                        : closing_       ? kClosingMs
                        : reads_ahead()  ? kAheadMs
                        : connection < 0 ? kUnsureMs
                                         : -1;
    std::array<pollfd, 3> waiting{
        pollfd{.fd = helper_busy ? -1 : memory_.userfault(), .events = POLLIN, .revents = 0},
        pollfd{.fd = kick_fd_, .events = POLLIN, .revents = 0},
        pollfd{.fd = closing_ ? -1 : connection, .events = POLLRDHUP, .revents = 0}};
    const int ready = ::poll(waiting.data(), waiting.size(), timeout);
    if (waiting[1].revents != 0) {
      std::uint64_t count = 0;
      [[maybe_unused]] const ssize_t got = ::read(kick_fd_, &count, sizeof count);
    }
    {
      const std::lock_guard lock(mutex_);
      if (!helper_.holds_events()) drain();
    }
    tell_stall();
    end_stale_ahead();
    serve_writes();
    serve_pending();
    tell_stall();
    const bool hung_up = (waiting[2].revents & (POLLHUP | POLLRDHUP | POLLERR)) != 0;
    if (hung_up || closing_ || ready == 0) look_after_life(hung_up);
  }
}

// Faults that nobody else need do anything for.
bool Client::waits_for_us() const noexcept {
  return !pending_.empty() || (!writes_.empty() && !held_.load(std::memory_order_relaxed));
}

// Tells the clock whether threads of this address space wait.
void Client::tell_stall() noexcept {
  const bool waits = !pending_.empty() || !writes_.empty() || !far_faults_.empty();
  if (stalled_ == waits) return;
  stalled_ = waits;
  StallClock& clock = parts_.counters.stall;
  stalled_ ? clock.enter(parts_.machine.now_ns()) : clock.leave(parts_.machine.now_ns());
}

void Client::look_after_life(bool helper_gone) {
  if (helper_gone) closing_ = true;
  if (memory_.alive()) return;
  clear_all();
  tell_stall();
  life_.store(Life::gone, std::memory_order_release);
}

void Client::clear_all() {
  const std::lock_guard lock(mutex_);
  table_.for_each(0, ~std::uint64_t{0} >> kPageShift,
                  [&](std::uint64_t page, Entry& entry) { forget(page, entry, Entry()); });
  settle();
  ranges_.clear();
  windows_.clear();
  in_queue_.clear();
  queued_.store(0, std::memory_order_relaxed);
  pending_.clear();
  writes_.clear();
  far_faults_.clear();
  for (SlotLoads::Load* const load : loads_) load->end();
  loads_.clear();
  ahead_ = 0;
  helper_.disconnect();
  if (leaving_ != nullptr) leaving_->release();
  leaving_ = nullptr;
}

void Client::copy_out_runs(std::vector<OutRun>& runs, std::vector<Range>& own) {
  const std::lock_guard lock(mutex_);
  own = protected_;
  table_.for_each(0, ~std::uint64_t{0} >> kPageShift, [&](std::uint64_t page, Entry& entry) {
    if (!entry.is_out()) return;
    const bool filled = entry.state() == EntryState::filled;
    const bool goes_on = !runs.empty() && runs.back().filled == filled &&
                         runs.back().first_page + runs.back().pages == page;
    if (goes_on) {
      ++runs.back().pages;
    } else {
      runs.push_back({.first_page = page, .pages = 1, .filled = filled});
    }
  });
}

}  // namespace holdfast::run
