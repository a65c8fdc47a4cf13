#include "run/client.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "run/process_files.h"
#include "run/registry.h"

namespace holdfast::run {
namespace {

constexpr int kStarvedMs = 2;     // how soon a fault without room asks again, if nobody wakes it
constexpr int kHelperBusyMs = 1;  // how soon to look whether a helper has answered
constexpr int kUnsureMs = 200;    // how often to ask whether an unknown process still lives
constexpr int kClosingMs = 2;     // the same once its helper has gone

}  // namespace

Client::Client(Parts& parts, int userfault)
    : parts_(parts), memory_(userfault), kick_fd_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
  Counters::add(parts_.counters.spaces);
}

Client::~Client() {
  if (thread_) thread_->join();
  if (staging_ != nullptr) {
    parts_.machine.release(reinterpret_cast<Address>(staging_), kRunMax * kPageSize);
  }
  if (kick_fd_ >= 0) ::close(kick_fd_);
}

Expected<void> Client::start() {
  const Address staging =
      TRY(parts_.machine.reserve(kRunMax * kPageSize, kPageSize, sys::Purpose::table));
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
  while (life() == Life::running) {
    bool helper_busy = false;
    int connection = -1;
    {
      const std::lock_guard lock(mutex_);
      if (helper_.under_way()) finish_command(0);
      helper_busy = helper_.holds_events();
      connection = helper_.connection();
    }
    const int timeout = helper_busy         ? kHelperBusyMs
                        : !pending_.empty() ? kStarvedMs
                        : closing_          ? kClosingMs
                        : connection < 0    ? kUnsureMs
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
    serve_pending();
    const bool hung_up = (waiting[2].revents & (POLLHUP | POLLRDHUP | POLLERR)) != 0;
    if (hung_up || closing_ || ready == 0) look_after_life(hung_up);
  }
}

void Client::look_after_life(bool helper_gone) {
  if (helper_gone) closing_ = true;
  if (memory_.alive()) return;
  clear_all();
  life_.store(Life::gone, std::memory_order_release);
}

void Client::clear_all() {
  const std::lock_guard lock(mutex_);
  table_.for_each(0, ~std::uint64_t{0} >> kPageShift,
                  [&](std::uint64_t page, Entry& entry) { forget(page, entry, Entry()); });
  ranges_.clear();
  windows_.clear();
  in_queue_.clear();
  queued_.store(0, std::memory_order_relaxed);
  pending_.clear();
  helper_.disconnect();
  if (leaving_ != nullptr) leaving_->release();
  leaving_ = nullptr;
}

// --- ranges ---

void Client::add_range(Range range) {
  auto next = ranges_.lower_bound(range.start);
  if (next != ranges_.begin()) {
    const auto before = std::prev(next);
    if (before->second >= range.start) {
      range.start = before->first;
      range.end = std::max(range.end, before->second);
      ranges_.erase(before);
    }
  }
  while (next != ranges_.end() && next->first <= range.end) {
    range.end = std::max(range.end, next->second);
    next = ranges_.erase(next);
  }
  ranges_[range.start] = range.end;
}

void Client::remove_range(Range range) {
  auto at = ranges_.upper_bound(range.start);
  if (at != ranges_.begin()) --at;
  while (at != ranges_.end() && at->first < range.end) {
    const Range old{at->first, at->second};
    if (old.end <= range.start) {
      ++at;
      continue;
    }
    at = ranges_.erase(at);
    if (old.start < range.start) ranges_[old.start] = range.start;
    if (old.end > range.end) ranges_[range.end] = old.end;
  }
}

Address Client::mapping_end(Address at) const noexcept {
  const auto next = std::ranges::upper_bound(borders_, at);
  return next == borders_.end() ? ~Address{0} : *next;
}

void Client::manage_mappings() {
  const std::vector<Range> mappings = manageable_mappings(pid());
  const std::lock_guard lock(mutex_);
  borders_.clear();
  for (const Range& mapping : mappings) borders_.push_back(mapping.end);
  for (Range rest : mappings) {
    for (const Range& ours : protected_) {
      if (rest.start >= ours.start && rest.start < ours.end)
        rest.start = std::min(ours.end, rest.end);
    }
    // What of it is not registered yet, piece by piece.
    while (rest.start < rest.end) {
      auto next = ranges_.upper_bound(rest.start);
      if (next != ranges_.begin() && std::prev(next)->second > rest.start) {
        rest.start = std::prev(next)->second;
        continue;
      }
      const Address end = next == ranges_.end() ? rest.end : std::min(rest.end, next->first);
      const Range piece{rest.start, end};
      rest.start = end;
      // Refused: not of a kind that can be managed, or gone by now. It stays as it is.
      if (memory_.register_range(piece) != 0) continue;
      add_range(piece);
      queue_range(piece);
    }
  }
}

}  // namespace holdfast::run
