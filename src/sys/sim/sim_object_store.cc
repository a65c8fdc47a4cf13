#include "sys/sim/sim_object_store.h"

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "sync/sync.h"

namespace holdfast::sys {
namespace {

constexpr std::uint64_t kNoTime = ~std::uint64_t{0};
constexpr std::uint64_t kStallLook = 1'000'000;  // ns: how often it is seen whether a stall is over

}  // namespace

SimObjectStore::SimObjectStore(SimCore& core, const ObjectStoreOptions& options,
                               const FarImage* image)
    : core_(core),
      wait_ns_(options.wait_ns),
      options_(options),
      session_(image == nullptr ? std::to_string(++core.sessions_begun) : image->session),
      reading_(image != nullptr) {
  if (!reading_) core_.sessions[session_];
  device_ = &core_.scheduler.spawn("cluster", [this] { run_device(); }, Signals::blocked);
}

SimObjectStore::~SimObjectStore() {
  HF_CHECK2(flights_.empty(), flights_.size(), 0);
  if (!reading_ && !published_) {
    core_.stats.objects_left += lost_ ? 0 : core_.sessions[session_].size();
    core_.sessions.erase(session_);
  }
  stop_ = true;
  work_.fetch_add(1);
  core_.scheduler.wake(work_, sync::kWakeAll);
  core_.scheduler.join(*device_);
}

void SimObjectStore::submit(ObjectRequest& request) noexcept {
  core_.scheduler.point();
  const std::uint64_t latency = core_.options.io_latency_ns_max;
  Flight flight{.request = &request, .due_ns = core_.scheduler.now_ns()};
  flight.late = core_.failures.hit(FailureKind::object_late);
  if (flight.late) {
    flight.due_ns += wait_ns_;
  } else if (latency != 0) {
    flight.due_ns += core_.random.between(1, latency);
  }
  flights_.push_back(flight);
  work_.fetch_add(1);
  core_.scheduler.wake(work_, sync::kWakeAll);
}

void SimObjectStore::run_device() noexcept {
  while (!stop_) {
    const std::uint32_t seen = work_.load();
    Flight flight;
    std::uint64_t next_due = kNoTime;
    if (take_due(flight, next_due)) {
      const sync::InterruptScope interrupt;
      flight.request->error = perform(flight);
      flight.request->done(*flight.request);
      continue;
    }
    if (stop_) return;
    const std::uint64_t now = core_.scheduler.now_ns();
    const std::uint64_t wait = next_due == kNoTime ? 0 : std::max(next_due, now + 1) - now;
    core_.scheduler.wait(work_, seen, wait);
  }
}

bool SimObjectStore::stalls(const ObjectRequest& request) const noexcept {
  return request.action == ObjectAction::read ? core_.object_reads_stall
                                              : core_.object_writes_stall;
}

// Any of those whose time has come.
bool SimObjectStore::take_due(Flight& flight, std::uint64_t& next_due) noexcept {
  const std::uint64_t now = core_.scheduler.now_ns();
  std::vector<std::size_t> due;
  for (std::size_t i = 0; i < flights_.size(); ++i) {
    if (stalls(*flights_[i].request)) {
      next_due = std::min(next_due, now + kStallLook);
    } else if (flights_[i].due_ns <= now) {
      due.push_back(i);
    } else {
      next_due = std::min(next_due, flights_[i].due_ns);
    }
  }
  if (due.empty()) return false;
  const std::size_t chosen = due[core_.random.below(due.size())];
  flight = flights_[chosen];
  flights_.erase(flights_.begin() + static_cast<std::ptrdiff_t>(chosen));
  return true;
}

int SimObjectStore::perform(const Flight& flight) noexcept {
  const ObjectRequest& request = *flight.request;
  int error = 0;
  switch (request.action) {
    case ObjectAction::read:
      error = flight.late ? ETIMEDOUT : read(request);
      break;
    case ObjectAction::write:
      error = write(request, flight.late);
      break;
    case ObjectAction::remove:
      // Too late, it may have happened all the same.
      if (!flight.late || core_.random.chance(1, 2)) error = remove(request);
      if (flight.late) error = ETIMEDOUT;
      break;
  }
  const SimEvent event = request.action == ObjectAction::read ? SimEvent::read : SimEvent::write;
  core_.scheduler.note(event, request.object,
                       request.bytes << 8 | static_cast<unsigned>(error & 0xff));
  return error;
}

int SimObjectStore::read(const ObjectRequest& request) noexcept {
  if (core_.failures.hit(FailureKind::object_read)) return EIO;
  const SimCore::SimObjects* const all = objects();
  if (all == nullptr) return ENOENT;
  const auto object = all->find(request.object);
  if (object == all->end()) return ENOENT;
  if (request.offset + request.bytes > object->second.size()) return EIO;
  std::memcpy(request.data, object->second.data() + request.offset, request.bytes);
  if (core_.failures.hit(FailureKind::object_corrupt)) {
    request.data[core_.random.below(request.bytes)] ^=
        static_cast<std::byte>(1U << core_.random.below(8));
    ++core_.stats.corrupt_reads;
  }
  return 0;
}

int SimObjectStore::write(const ObjectRequest& request, bool late) noexcept {
  if (reading_) return EROFS;
  lost_ = lost_ || core_.failures.hit(FailureKind::object_fence);
  if (lost_) return ESTALE;
  if (core_.failures.hit(FailureKind::object_full)) return ENOSPC;
  if (core_.failures.hit(FailureKind::object_write)) return EIO;
  if (late && core_.random.chance(1, 2)) return ETIMEDOUT;
  auto& object = (*objects())[request.object];
  const bool again = !object.empty();
  // An object is written once; what is tried again are the same bytes.
  HF_CHECK2(!again || (object.size() == request.bytes &&
                       std::memcmp(object.data(), request.data, request.bytes) == 0),
            request.object, request.bytes);
  object.assign(request.data, request.data + request.bytes);
  ++core_.stats.objects_written;
  return late ? ETIMEDOUT : 0;
}

int SimObjectStore::remove(const ObjectRequest& request) noexcept {
  if (reading_) return EROFS;
  if (lost_) return ESTALE;
  return objects()->erase(request.object) == 0 ? ENOENT : 0;
}

// What fails is what may fail of a write.
Expected<void> SimObjectStore::publish(const FarImage& image) {
  Error error{.code = Errc::system, .doing = "publish image", .what = "image"};
  core_.scheduler.point();
  lost_ = lost_ || core_.failures.hit(FailureKind::object_fence);
  const std::string key = key_of(options_, image.name);
  if (core_.images.contains(key)) {
    error.code = Errc::invalid_argument;
    error.os_errno = EEXIST;
  }
  if (core_.failures.hit(FailureKind::object_full)) error.os_errno = ENOSPC;
  if (core_.failures.hit(FailureKind::object_write)) error.os_errno = EIO;
  if (lost_) error.os_errno = ESTALE;
  const bool late = error.os_errno == 0 && core_.failures.hit(FailureKind::object_late);
  if (late) {
    core_.scheduler.sleep_ns(wait_ns_);
    error.code = Errc::timed_out;
    error.os_errno = ETIMEDOUT;
  }
  published_ = error.os_errno == 0 || late;  // or may have been
  if (error.os_errno == 0 || (late && core_.random.chance(1, 2))) {
    FarImage published = image;
    published.session = session_;
    core_.images[key] = std::move(published);
  }
  if (error.os_errno != 0) return fail(error);
  return {};
}

}  // namespace holdfast::sys
