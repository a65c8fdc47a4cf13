#include "run/observer.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <ctime>

#include "run/process_files.h"

namespace holdfast::run {
namespace {

constexpr int kLookMs = 10;
constexpr std::size_t kSamplesMax = 1024;
constexpr std::uint64_t kMs = 1'000'000;
constexpr std::uint64_t kSampleInterval = kLookMs * kMs;
constexpr std::size_t kMapsMax = 24;
constexpr std::uint64_t kMapInterval = 100 * kMs;
constexpr std::uint64_t kMapRest = 50;  // a map takes a fiftieth of the time at most
constexpr std::size_t kProcessesMax = 6;
constexpr std::uint64_t kStatusInterval = 250 * kMs;
constexpr std::uint64_t kStatusFirst = 500 * kMs;  // what is over sooner needs no line
constexpr std::uint64_t kUnmanagedInterval = 250 * kMs;

// The client of a process; null: none.
Client* client_of(const std::vector<Registry::Use>& clients, int pid) {
  for (const Registry::Use& use : clients) {
    if (use->pid() == pid) return &*use;
  }
  return nullptr;
}

}  // namespace

Observer::Observer(Parts& parts, const Balancer& balancer, const RunOptions& options,
                   std::string pager, std::atomic<unsigned>& status_rows)
    : parts_(parts),
      balancer_(balancer),
      options_(options),
      begun_(parts.machine.now_ns()),
      history_(kSamplesMax, kSampleInterval),
      map_interval_ns_(kMapInterval),
      unmanaged_(parts.machine, std::move(pager)) {
  if (!options.quiet) line_.emplace(STDERR_FILENO, status_rows);
}

Sample Observer::sample(std::uint64_t time, std::uint64_t resident_pages) {
  Sample now{.time_ns = time,
             .resident_pages = resident_pages,
             .out_pages = out_pages_,
             .faults = parts_.counters.faults,
             .pages_in = parts_.counters.pages_in,
             .pages_out = parts_.counters.pages_out,
             .stalled_ns = parts_.counters.stall.stalled_ns(begun_ + time)};
  std::uint64_t pages = 0;
  std::uint64_t images = 0;
  for (const swap::TierStats& tier : parts_.swap.stats().tiers) {
    (tier.kind == swap::TierKind::ram ? now.compressed_bytes : now.file_bytes) += tier.held_bytes;
    pages += tier.pages;
    images += tier.image_bytes;
  }
  if (pages > peak_stored_pages_) {
    peak_stored_pages_ = pages;
    peak_image_bytes_ = images;
  }
  return now;
}

Expected<void> Observer::start() {
  stop_fd_ = ::eventfd(0, EFD_CLOEXEC);
  if (stop_fd_ < 0) {
    return fail({.code = Errc::system, .os_errno = errno, .doing = "start looking at the run"});
  }
  thread_ = TRY(parts_.machine.start_thread("holdfast-look", &Observer::main, this));
  return {};
}

void Observer::stop() {
  if (thread_) {
    const std::uint64_t one = 1;
    [[maybe_unused]] const ssize_t written = ::write(stop_fd_, &one, sizeof one);
    thread_->join();
    thread_.reset();
  }
  if (stop_fd_ >= 0) ::close(stop_fd_);
  stop_fd_ = -1;
  if (line_) line_->hide();
}

void Observer::main(void* self) { static_cast<Observer*>(self)->run(); }

void Observer::run() {
  pollfd stopped{.fd = stop_fd_, .events = POLLIN, .revents = 0};
  do {
    look();
  } while (::poll(&stopped, 1, kLookMs) != 1);
}

void Observer::look() {
  const std::uint64_t time = time_ns();
  out_pages_ = 0;
  for (const Registry::Use& client : parts_.registry.all()) out_pages_ += client->out_pages();
  const std::uint64_t resident = balancer_.resident_pages();
  const std::uint64_t wanted = resident + out_pages_;
  peak_wanted_ = std::max(peak_wanted_, wanted);
  if (history_.is_due(time)) history_.add(sample(time, resident));
  const std::uint64_t next_status = std::max(shown_.time_ns + kStatusInterval, kStatusFirst);
  if (line_ && line_->is_possible() && time >= next_status) show(sample(time, resident));
  if (!options_.report_path.empty() && time >= next_map_ns_) take_map(time, wanted);
  if (time >= next_look_ns_) {
    next_look_ns_ = time + kUnmanagedInterval;
    unmanaged_.look(descendants(::getpid()), parts_.registry);
  }
}

void Observer::show(const Sample& now) {
  const double seconds = static_cast<double>(now.time_ns - shown_.time_ns) / 1e9;
  line_->show({.budget_bytes = options_.memory_bytes,
               .resident_bytes = now.resident_pages * kPageSize,
               .out_bytes = now.out_pages * kPageSize,
               .compressed_bytes = now.compressed_bytes,
               .file_bytes = now.file_bytes,
               .faults_per_second = static_cast<double>(now.faults - shown_.faults) / seconds,
               .stalled = static_cast<double>(now.stalled_ns - shown_.stalled_ns) / 1e9 / seconds});
  shown_ = now;
}

// The largest processes, as they are now.
void Observer::take_map(std::uint64_t time, std::uint64_t wanted) {
  const std::vector<int> tree = descendants(::getpid());
  MemoryMap map{.time_ns = time, .wanted_pages = wanted, .processes = {}, .other_processes = 0};
  const std::vector<Registry::Use> clients = parts_.registry.all();
  struct Sized {
    std::uint64_t pages;
    int pid;
    Client* client;
  };
  std::vector<Sized> sizes;
  for (const int pid : tree) {
    Client* const client = client_of(clients, pid);
    const std::uint64_t out = client == nullptr ? 0 : client->out_pages();
    sizes.push_back({resident_pages(pid) + out, pid, client});
  }
  std::ranges::sort(sizes, std::greater<>(), &Sized::pages);
  for (const Sized& each : sizes) {
    if (map.processes.size() == kProcessesMax) break;
    ProcessMap process = map_process(each.pid, each.client);
    if (process.pages.touched() > 0) map.processes.push_back(std::move(process));
  }
  map.other_processes = tree.size() - map.processes.size();
  if (map.processes.empty()) return;  // nobody is there yet
  keep(std::move(map));
  const std::uint64_t cost = time_ns() - time;
  next_map_ns_ = time + std::max(map_interval_ns_, cost * kMapRest);
}

// Every other goes when there are too many, but not the one of the moment when the most was wanted.
void Observer::keep(MemoryMap map) {
  if (maps_.size() >= kMapsMax) {
    const auto peak = std::ranges::max_element(maps_, {}, &MemoryMap::wanted_pages);
    const std::uint64_t peak_time = peak->time_ns;
    std::size_t index = 0;
    std::erase_if(
        maps_, [&](const MemoryMap& old) { return index++ % 2 == 1 && old.time_ns != peak_time; });
    map_interval_ns_ *= 2;
  }
  maps_.push_back(std::move(map));
}

Report Observer::report() const {
  const Counters& counters = parts_.counters;
  const Budget::Peaks peaks = parts_.budget.peaks();
  const std::uint64_t elapsed = time_ns();
  Report report;
  report.command = options_.command;
  report.started = static_cast<std::int64_t>(std::time(nullptr)) -
                   static_cast<std::int64_t>(elapsed / (1000 * kMs));
  report.elapsed_ns = elapsed;
  report.budget_bytes = options_.memory_bytes;
  report.peak_resident_pages = peaks.resident_pages;
  report.peak_wanted_pages = std::max(peak_wanted_, peaks.resident_pages);
  report.overshoot_pages = peaks.overshoot_pages;
  report.stalled_ns = counters.stall.stalled_ns(begun_ + elapsed);
  report.waited_ns = counters.wait_ns;
  report.faults = counters.faults;
  report.fresh_pages = counters.fresh_pages;
  report.pages_in = counters.pages_in;
  report.ahead_pages = counters.ahead_pages;
  report.ahead_passed = counters.ahead_passed;
  report.read_ahead = counters.read_ahead;
  report.pages_out = counters.pages_out;
  report.rescued = counters.rescued;
  report.clean = counters.clean;
  report.filled = counters.filled;
  report.stored = counters.stored;
  report.returned = counters.returned;
  report.busy = counters.busy;
  report.spaces = counters.spaces;
  report.forks = counters.forks;
  report.stored_pages_peak = peak_stored_pages_;
  report.image_bytes_peak = peak_image_bytes_;
  report.tiers = parts_.swap.stats().tiers;
  report.samples = history_.samples();
  report.maps = maps_;
  return report;
}

}  // namespace holdfast::run
