#include "sys/sim/sim_async.h"

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace holdfast::sys {
namespace {

constexpr std::uint64_t kNoTime = ~std::uint64_t{0};

}  // namespace

SimAsync::SimAsync(SimCore& core) : core_(core) {
  core_.queues.push_back(this);
  device_ = &core_.scheduler.spawn("device", [this] { run_device(); }, Signals::blocked);
}

SimAsync::~SimAsync() {
  HF_CHECK2(flights_.empty() && done_.empty(), flights_.size(), done_.size());
  stop_ = true;
  signal(work_);
  core_.scheduler.join(*device_);
  std::erase(core_.queues, this);
}

void SimAsync::signal(std::atomic<std::uint32_t>& word) noexcept {
  word.fetch_add(1);
  core_.scheduler.wake(word, sync::kWakeAll);
}

void SimAsync::submit(std::span<const AsyncRequest> requests) noexcept {
  core_.scheduler.point();
  for (const AsyncRequest& request : requests) {
    const std::uint64_t latency = core_.options.io_latency_ns_max;
    const std::uint64_t due = latency == 0 ? 0 : core_.random.between(1, latency);
    flights_.push_back({.request = request, .due_ns = core_.scheduler.now_ns() + due});
  }
  signal(work_);
}

// A transfer that the device has begun is not there any more; some others it will not give up.
void SimAsync::cancel(std::uint64_t id) noexcept {
  core_.scheduler.point();
  for (Flight& flight : flights_) {
    if (flight.request.id != id) continue;
    const int fd = flight.request.fd;
    const bool stream = core_.device(fd) != nullptr && core_.device(fd)->stream;
    flight.cancelled = stream || core_.random.chance(3, 4);
  }
  signal(work_);
}

std::uint32_t SimAsync::reap(std::span<AsyncCompletion> out, std::uint64_t timeout_ns,
                             std::uint32_t /*least*/) noexcept {
  core_.scheduler.point();
  const std::uint32_t seen = events_.load();
  const auto take = [&]() noexcept {
    const auto count = static_cast<std::uint32_t>(std::min(out.size(), done_.size()));
    std::copy_n(done_.begin(), count, out.begin());
    done_.erase(done_.begin(), done_.begin() + count);
    return count;
  };
  const std::uint32_t taken = take();
  if (taken != 0 || timeout_ns == 0 || std::exchange(woken_, false)) return taken;
  core_.scheduler.wait(events_, seen, timeout_ns == kForever ? 0 : timeout_ns);
  woken_ = false;
  return take();
}

void SimAsync::wake() noexcept {
  woken_ = true;
  signal(events_);
}

// --- the device ---

void SimAsync::run_device() noexcept {
  while (!stop_) {
    const std::uint32_t seen = work_.load();
    Flight flight;
    std::uint64_t next_due = kNoTime;
    if (take_due(flight, next_due)) {
      const std::int64_t result = perform(flight);
      done_.push_back({.id = flight.request.id, .result = result});
      signal(events_);
      continue;
    }
    if (stop_) return;
    const std::uint64_t now = core_.scheduler.now_ns();
    const std::uint64_t wait = next_due == kNoTime ? 0 : std::max(next_due, now + 1) - now;
    core_.scheduler.wait(work_, seen, wait);
  }
}

bool SimAsync::can_go(const Flight& flight) const noexcept {
  const SimDeviceFile* file = core_.device(flight.request.fd);
  if (flight.cancelled || file == nullptr || !file->stream) return true;
  return flight.request.kind != AsyncKind::read || !file->bytes.empty() || file->ended;
}

// Any of those whose time has come.
bool SimAsync::take_due(Flight& flight, std::uint64_t& next_due) noexcept {
  const std::uint64_t now = core_.scheduler.now_ns();
  std::vector<std::size_t> due;
  for (std::size_t i = 0; i < flights_.size(); ++i) {
    if (flights_[i].cancelled || (flights_[i].due_ns <= now && can_go(flights_[i]))) {
      due.push_back(i);
    } else if (flights_[i].due_ns > now) {
      next_due = std::min(next_due, flights_[i].due_ns);
    }
  }
  if (due.empty()) return false;
  const std::size_t chosen = due[core_.random.below(due.size())];
  flight = flights_[chosen];
  flights_.erase(flights_.begin() + static_cast<std::ptrdiff_t>(chosen));
  return true;
}

std::int64_t SimAsync::perform(const Flight& flight) noexcept {
  const AsyncRequest& request = flight.request;
  if (flight.cancelled) return -ECANCELED;
  SimDeviceFile* const file = core_.device(request.fd);
  if (file == nullptr) return -EBADF;
  if (core_.failures.hit(FailureKind::async_ended)) return -ECANCELED;
  if (core_.failures.hit(FailureKind::async_error)) return -EIO;
  if (request.kind == AsyncKind::sync || request.kind == AsyncKind::data_sync) return 0;
  std::uint64_t asked = 0;
  for (std::uint32_t i = 0; i < request.count; ++i) asked += request.parts[i].bytes;
  if (asked > 1 && core_.failures.hit(FailureKind::async_short)) {
    asked = core_.random.between(1, asked - 1);
  }
  return request.kind == AsyncKind::read ? read(*file, request, asked)
                                         : write(*file, request, asked);
}

// Where the bytes stand now. Memory of the program's own is where its address says.
std::byte* SimAsync::host(const std::byte* data) noexcept {
  const auto address = reinterpret_cast<Address>(data);
  if (!SimMemory::is_fake(address)) return const_cast<std::byte*>(data);
  std::byte* const page = core_.memory.find(address);
  HF_CHECK2(page != nullptr, address, 0);  // it left its address under a transfer
  return page + (address & (kPageSize - 1));
}

// Piece by piece, each within a page, with others running in between.
template <class Copy>
void SimAsync::for_each_piece(const AsyncRequest& request, std::uint64_t bytes,
                              Copy copy) noexcept {
  std::uint64_t done = 0;
  for (std::uint32_t i = 0; i < request.count && done < bytes; ++i) {
    const IoPart& part = request.parts[i];
    for (std::uint64_t at = 0; at < part.bytes && done < bytes;) {
      core_.scheduler.point();
      const auto address = reinterpret_cast<Address>(part.data) + at;
      const std::uint64_t rest = kPageSize - (address & (kPageSize - 1));
      const std::uint64_t piece = std::min({rest, part.bytes - at, bytes - done});
      copy(host(part.data + at), done, piece);
      at += piece;
      done += piece;
    }
  }
}

std::int64_t SimAsync::read(SimDeviceFile& file, const AsyncRequest& request,
                            std::uint64_t most) noexcept {
  const bool current = file.stream || request.offset == AsyncRequest::kCurrent;
  const std::uint64_t from = file.stream ? 0 : (current ? file.position : request.offset);
  const std::uint64_t there = from < file.bytes.size() ? file.bytes.size() - from : 0;
  const std::uint64_t bytes = std::min(most, there);
  // What a stream gives is given once: taken before others run.
  std::vector<std::byte> taken(file.bytes.begin() + static_cast<std::ptrdiff_t>(from),
                               file.bytes.begin() + static_cast<std::ptrdiff_t>(from + bytes));
  if (file.stream)
    file.bytes.erase(file.bytes.begin(), file.bytes.begin() + static_cast<std::ptrdiff_t>(bytes));
  if (current && !file.stream) file.position += bytes;
  for_each_piece(request, bytes, [&](std::byte* to, std::uint64_t done, std::uint64_t piece) {
    std::memcpy(to, taken.data() + done, piece);
  });
  return static_cast<std::int64_t>(bytes);
}

std::int64_t SimAsync::write(SimDeviceFile& file, const AsyncRequest& request,
                             std::uint64_t most) noexcept {
  const bool current = file.stream || request.offset == AsyncRequest::kCurrent;
  const std::uint64_t at =
      file.stream ? file.bytes.size() : (current ? file.position : request.offset);
  if (current && !file.stream) file.position += most;
  if (file.bytes.size() < at + most) file.bytes.resize(at + most);
  for_each_piece(request, most, [&](std::byte* from, std::uint64_t done, std::uint64_t piece) {
    std::copy_n(from, piece, file.bytes.begin() + static_cast<std::ptrdiff_t>(at + done));
  });
  return static_cast<std::int64_t>(most);
}

}  // namespace holdfast::sys
