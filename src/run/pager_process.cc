#include "run/pager_process.h"

#include <poll.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string_view>

#include "run/process_files.h"
#include "run/program.h"

namespace holdfast::run {
namespace {

constexpr std::uint64_t kSlotsMax = std::uint64_t{1} << 28;  // 1 TiB of swapped pages
constexpr std::uint64_t kTouchPagesPerMs = 1300;  // what a program can touch anew: 5 GB/s
constexpr int kTickMaxMs = 50;
constexpr int kTickArmedMs = 4;
constexpr int kRestPerCount = 8;  // counting takes a ninth of one CPU at most

std::uint32_t buffer_count(std::uint64_t frames) {
  return static_cast<std::uint32_t>(std::clamp<std::uint64_t>(frames / kWindowPages / 32, 2, 16));
}

std::vector<swap::TierOptions> tiers_or_default(const RunOptions& options) {
  std::vector<swap::TierOptions> tiers = options.tiers;
  if (tiers.empty()) {
    const char* const folder = std::getenv("TMPDIR");
    tiers.push_back({.kind = swap::TierKind::ram});
    tiers.push_back({.kind = swap::TierKind::file,
                     .directory = folder != nullptr && *folder != '\0' ? folder : "/var/tmp"});
  }
  for (std::size_t i = 0; i < tiers.size(); ++i) {
    if (tiers[i].kind != swap::TierKind::ram) continue;
    if (options.compressed_limit_bytes != 0) {
      tiers[i].limit_bytes = options.compressed_limit_bytes;
    } else if (i + 1 < tiers.size()) {
      tiers[i].limit_bytes = options.memory_bytes / 2;
    }
  }
  return tiers;
}

// Three quarters of what compressed memory may take; where it has no limit, of half the budget.
std::uint64_t keep_images_below(const std::vector<swap::TierOptions>& tiers, std::uint64_t memory) {
  std::uint64_t most = 0;
  for (const swap::TierOptions& tier : tiers) {
    if (tier.kind != swap::TierKind::ram) continue;
    most += tier.limit_bytes == 0 ? memory / 2 : tier.limit_bytes;
  }
  return most / 4 * 3;
}

}  // namespace

PagerProcess::PagerProcess(const RunOptions& options, SharedOutcome& outcome, int guardian)
    : options_(options), outcome_(outcome), guardian_(guardian), machine_(sys::real_machine()) {}

PagerProcess::~PagerProcess() = default;

Expected<void> PagerProcess::build() {
  budget_ = TRY(Budget::create(machine_, options_.memory_bytes));
  swap::SwapOptions swap{.tiers = tiers_or_default(options_), .slots_max = kSlotsMax};
  swap_ = TRY(swap::Swap::create(machine_, budget_->pool(), swap));
  const std::uint32_t buffers = buffer_count(budget_->total_pages());
  buffers_ = TRY(EvictionBuffers::create(machine_, buffers));
  HF_CHECK(budget_->charge_buffer(buffers * kWindowPages));
  parts_.reset(new Parts{.machine = machine_,
                         .budget = *budget_,
                         .swap = *swap_,
                         .buffers = *buffers_,
                         .counters = counters_,
                         .registry = registry_,
                         .give_up = &PagerProcess::give_up,
                         .context = this,
                         .keep_images_below = keep_images_below(swap.tiers, options_.memory_bytes),
                         .swap_full_wait_ns = options_.swap_full_wait_seconds * 1'000'000'000});
  evictor_.emplace(*parts_, registry_);
  registrar_.emplace(*parts_, registry_);
  return {};
}

Expected<void> PagerProcess::start() {
  TRY_VOID(build());
  TRY_VOID(evictor_->start());
  TRY_VOID(registrar_->start());
  return {};
}

void PagerProcess::end_with(int exit, const std::string& why) {
  machine_.print_line(("holdfast: " + why).c_str());
  outcome_.exit = exit;
  outcome_.told.store(true);
}

void PagerProcess::run() {
  started_ns_ = machine_.now_ns();
  if (const auto started = start(); !started) {
    end_with(kExitUsage, started.error().message());
    return;
  }
  program_ = start_program(options_.command, find_shim(options_.shim), registrar_->environment());
  if (program_ < 0) {
    end_with(program_ == -ENOENT ? kExitNotFound : kExitNotExecutable,
             "run: " + options_.command.front() + ": " + std::strerror(-program_));
  } else {
    outcome_.program.store(program_);
    // What the terminal sends is for the program, which shares our process group.
    for (const int signal :
         {SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTSTP, SIGTTIN, SIGTTOU, SIGPIPE, SIGUSR1, SIGUSR2}) {
      ::signal(signal, SIG_IGN);
    }
    watch();
    registrar_->stop();
    evictor_->stop();
    if (!options_.quiet && !gave_up_) summarize();
    if (!options_.report_path.empty()) write_report();
    outcome_.told.store(true);
  }
}

// Ends what has ended. True: nobody is left.
bool PagerProcess::reap() {
  for (;;) {
    int status = 0;
    const pid_t pid = ::waitpid(-1, &status, WNOHANG);
    if (pid <= 0) return pid < 0 && errno == ECHILD;
    if (pid == program_) {
      outcome_.status = status;
      program_ended_ = true;
    }
  }
}

// Processes that share pages since a fork have them once, which takes longer to count.
std::uint64_t PagerProcess::count_tree() {
  const std::uint64_t begun = machine_.now_ns();
  const std::vector<int> tree = descendants(::getpid());
  std::uint64_t pages = 0;
  for (const int pid : tree) pages += resident_pages(pid);
  if (counters_.forks > 0 && tree.size() > 1 && pages > budget_->total_pages() / 2) {
    pages = 0;
    for (const int pid : tree) pages += proportional_pages(pid);
  }
  counting_ms_ = static_cast<int>((machine_.now_ns() - begun) / 1'000'000);
  return pages;
}

int PagerProcess::tick_ms() const {
  if (armed_) return std::max(kTickArmedMs, counting_ms_ * kRestPerCount);
  const std::uint64_t free = budget_->free_pages();
  return static_cast<int>(std::clamp<std::uint64_t>(free / kTouchPagesPerMs / 2, 1, kTickMaxMs));
}

// Memory that fits is left alone. Once it is nearly used up, everything that could leave is
// registered, and fresh memory as soon as it is seen.
void PagerProcess::watch() {
  const int ended = static_cast<int>(::syscall(SYS_pidfd_open, program_, 0));
  while (!reap()) {
    if (::getppid() != guardian_) give_up(this, "its guardian was killed");
    resident_ = count_tree();
    budget_->settle(resident_);
    const std::uint64_t margin = std::max<std::uint64_t>(budget_->total_pages() / 16, 4096);
    if (budget_->free_pages() < std::min(margin, budget_->total_pages() / 4)) armed_ = true;
    if (armed_) {
      for (const Registry::Use& client : registry_.all()) {
        if (client->pid() != 0) client->manage_mappings();
      }
      if (budget_->is_low()) budget_->wake_evictor();
    }
    registry_.sweep();
    pollfd waiting{.fd = program_ended_ ? -1 : ended, .events = POLLIN, .revents = 0};
    ::poll(&waiting, 1, tick_ms());
  }
  if (ended >= 0) ::close(ended);
}

// Any thread, whatever it holds: the fault that cannot be served is not served.
void PagerProcess::give_up(void* context, const char* why) noexcept {
  auto& self = *static_cast<PagerProcess*>(context);
  if (self.gave_up_.exchange(true)) return;
  self.end_with(
      std::string_view(why).starts_with("swap is full") ? kExitSwapFull : kExitPagerFailed,
      std::string(why) + ": the program was ended");
  for (const int pid : descendants(::getpid())) ::kill(pid, SIGKILL);
}

// One JSON object. What cannot be written is said, and changes no exit status.
void PagerProcess::write_report() {
  std::FILE* const file = std::fopen(options_.report_path.c_str(), "we");
  if (file == nullptr) {
    machine_.print_line(
        ("holdfast: --report " + options_.report_path + ": " + std::strerror(errno)).c_str());
    return;
  }
  const Budget::Peaks peaks = budget_->peaks();
  const swap::SwapStats stats = swap_->stats();
  const auto number = [&](const char* name, std::uint64_t value) {
    std::fprintf(file, "  \"%s\": %llu,\n", name, static_cast<unsigned long long>(value));
  };
  std::fputs("{\n", file);
  number("budget_bytes", options_.memory_bytes);
  number("peak_resident_bytes", peaks.resident_pages * kPageSize);
  number("overshoot_bytes", peaks.overshoot_pages * kPageSize);
  number("elapsed_ns", machine_.now_ns() - started_ns_);
  number("waited_ns", counters_.wait_ns);
  number("faults", counters_.faults);
  number("fresh_pages", counters_.fresh_pages);
  number("pages_in", counters_.pages_in);
  number("pages_out", counters_.pages_out);
  number("rescued", counters_.rescued);
  number("clean", counters_.clean);
  number("filled", counters_.filled);
  number("stored", counters_.stored);
  number("returned", counters_.returned);
  number("busy", counters_.busy);
  number("address_spaces", counters_.spaces);
  number("forks", counters_.forks);
  std::fputs("  \"tiers\": [", file);
  for (std::size_t i = 0; i < stats.tiers.size(); ++i) {
    const swap::TierStats& tier = stats.tiers[i];
    std::fprintf(file,
                 "%s{\"kind\": \"%s\", \"stores\": %llu, \"loads\": %llu, \"written_bytes\": %llu, "
                 "\"read_bytes\": %llu}",
                 i == 0 ? "" : ", ", tier.kind == swap::TierKind::ram ? "ram" : "file",
                 static_cast<unsigned long long>(tier.stores),
                 static_cast<unsigned long long>(tier.loads),
                 static_cast<unsigned long long>(tier.written_bytes),
                 static_cast<unsigned long long>(tier.read_bytes));
  }
  std::fputs("]\n}\n", file);
  std::fclose(file);
}

void PagerProcess::summarize() {
  const Budget::Peaks peaks = budget_->peaks();
  const auto mib = [](std::uint64_t pages) { return static_cast<double>(pages) / 256; };
  std::fprintf(stderr,
               "holdfast: peak resident %.1f MiB of %.1f MiB, overshoot %.1f MiB; %llu faults, "
               "%llu pages in, %llu out, %llu rescued, %llu clean; waited %.2f s\n",
               mib(peaks.resident_pages), mib(budget_->total_pages()), mib(peaks.overshoot_pages),
               static_cast<unsigned long long>(counters_.faults),
               static_cast<unsigned long long>(counters_.pages_in),
               static_cast<unsigned long long>(counters_.pages_out),
               static_cast<unsigned long long>(counters_.rescued),
               static_cast<unsigned long long>(counters_.clean),
               static_cast<double>(counters_.wait_ns) / 1e9);
}

}  // namespace holdfast::run
