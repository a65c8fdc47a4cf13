#include "run/pager_process.h"

#include <poll.h>
#include <sys/resource.h>
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
#include <utility>

#include "run/process_files.h"
#include "run/program.h"
#include "run/program_file.h"
#include "run/report.h"
#include "run/tiers.h"

namespace holdfast::run {
namespace {

constexpr std::uint64_t kSlotsMax = std::uint64_t{1} << 28;  // 1 TiB of swapped pages

// Two loads for a stream, and four streams; two threads decode faster than most programs read.
constexpr std::uint64_t kReadAheadMost = 8;
constexpr std::uint32_t kReadAheadThreads = 2;
constexpr std::uint64_t kDeviceLoadsMost = 4;  // that faults wait for at the same time

// How many loads that takes; 0: fewer than two.
std::uint32_t loads_within(std::uint64_t bytes, std::uint64_t most) {
  const std::uint64_t loads = std::min(bytes / (SlotLoads::pages_of(1) * kPageSize), most);
  return loads < 2 ? 0 : static_cast<std::uint32_t>(loads);
}

std::uint32_t buffer_count(std::uint64_t frames) {
  return static_cast<std::uint32_t>(std::clamp<std::uint64_t>(frames / kWindowPages / 32, 2, 16));
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

bool has_far_tier(const std::vector<swap::TierOptions>& tiers) {
  return std::ranges::any_of(
      tiers, [](const swap::TierOptions& tier) { return tier.kind == swap::TierKind::rados; });
}

// A pool that does not answer takes nothing either: it is waited for as long as with a page of it.
std::uint64_t swap_full_wait_ns(const std::vector<swap::TierOptions>& tiers,
                                const RunOptions& options) {
  std::uint64_t wait = options.swap_full_wait_seconds * 1'000'000'000;
  for (const swap::TierOptions& tier : tiers) {
    if (tier.kind == swap::TierKind::rados) wait = std::max(wait, tier.far.wait_ns);
  }
  return wait;
}

}  // namespace

PagerProcess::PagerProcess(const RunOptions& options, SharedOutcome& outcome, int guardian,
                           Recording replayed)
    : options_(options),
      outcome_(outcome),
      guardian_(guardian),
      machine_(sys::real_machine()),
      replayed_(std::move(replayed)) {}

PagerProcess::~PagerProcess() = default;

// Where pages go beyond this machine: what waits for them, and room for all that is on its way, out
// of the budget.
Expected<void> PagerProcess::prepare_far_memory(const swap::TierOptions& far) {
  far_loads_ = TRY(SlotLoads::create(machine_, *swap_, {.loads = far.reads, .threads = far.reads}));
  const std::uint64_t pages = swap_->staging_bytes() / kPageSize + SlotLoads::pages_of(far.reads);
  if (budget_->charge_buffer(static_cast<std::uint32_t>(pages))) return {};
  return fail({.code = Errc::invalid_argument,
               .doing = "run",
               .what = "--memory has no room for what is on its way to and from far memory: bytes",
               .value = pages * kPageSize,
               .limit = options_.memory_bytes,
               .remedy = "give more memory, or fewer tiers"});
}

// What waits for devices and what waits for the pool; without room for the former, faults wait
// where they are served.
Expected<void> PagerProcess::prepare_loads(const std::vector<swap::TierOptions>& tiers) {
  const auto far = std::ranges::find(tiers, swap::TierKind::rados, &swap::TierOptions::kind);
  if (far != tiers.end()) return prepare_far_memory(*far);
  const auto file = std::ranges::find(tiers, swap::TierKind::file, &swap::TierOptions::kind);
  const std::uint32_t loads = loads_within(options_.memory_bytes / 64, kDeviceLoadsMost);
  if (file == tiers.end() || !budget_->charge_buffer(SlotLoads::pages_of(loads))) return {};
  if (loads > 0)
    far_loads_ = TRY(SlotLoads::create(machine_, *swap_, {.loads = loads, .threads = loads}));
  return {};
}

// What is read ahead of streams, a thirty-second of the memory at most. Without room for it there
// is none.
Expected<void> PagerProcess::prepare_read_ahead() {
  const std::uint32_t loads = loads_within(options_.memory_bytes / 32, kReadAheadMost);
  if (loads == 0 || !budget_->charge_buffer(SlotLoads::pages_of(loads))) return {};
  read_ahead_ = TRY(SlotLoads::create(
      machine_, *swap_,
      {.loads = loads, .threads = kReadAheadThreads, .reach = swap::Reach::here}));
  return {};
}

Expected<void> PagerProcess::build() {
  budget_ = TRY(Budget::create(machine_, options_.memory_bytes));
  swap::SwapOptions swap{.tiers = tiers_or_default(options_), .slots_max = kSlotsMax};
  swap_ = TRY(swap::Swap::create(machine_, budget_->pool(), swap));
  const std::uint32_t buffers = buffer_count(budget_->total_pages());
  buffers_ = TRY(EvictionBuffers::create(machine_, buffers));
  HF_CHECK(budget_->charge_buffer(buffers * kWindowPages));
  TRY_VOID(prepare_loads(swap.tiers));
  TRY_VOID(prepare_read_ahead());
  if (!options_.record_path.empty() || !replayed_.spaces.empty()) {
    working_sets_.emplace(!options_.record_path.empty(), std::move(replayed_));
  }
  parts_.reset(new Parts{.machine = machine_,
                         .budget = *budget_,
                         .swap = *swap_,
                         .buffers = *buffers_,
                         .far_loads = far_loads_.get(),
                         .has_far_tier = has_far_tier(swap.tiers),
                         .read_ahead = read_ahead_.get(),
                         .counters = counters_,
                         .registry = registry_,
                         .working_sets = working_sets_ ? &*working_sets_ : nullptr,
                         .give_up = &PagerProcess::give_up,
                         .context = this,
                         .keep_images_below = keep_images_below(swap.tiers, options_.memory_bytes),
                         .swap_full_wait_ns = swap_full_wait_ns(swap.tiers, options_)});
  evictor_.emplace(*parts_, registry_);
  registrar_.emplace(*parts_, registry_);
  balancer_.emplace(*parts_, registry_);
  return {};
}

Expected<void> PagerProcess::start() {
  TRY_VOID(build());
  TRY_VOID(evictor_->start());
  TRY_VOID(registrar_->start());
  observer_.emplace(*parts_, *balancer_, options_, registrar_->environment(), outcome_.status_rows);
  TRY_VOID(observer_->start());
  return {};
}

void PagerProcess::end_with(int exit, const std::string& why) {
  machine_.print_line(("holdfast: " + why).c_str());
  outcome_.exit = exit;
  outcome_.told.store(true);
}

void PagerProcess::run() {
  if (const auto started = start(); !started) {
    end_with(kExitUsage, started.error().message());
    return;
  }
  observer_->look_ahead();
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
    observer_->stop();
    registrar_->stop();
    evictor_->stop();
    tell_what_happened();
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

// The programs compete with this thread for the CPUs, and it is to see in time what they touch.
void PagerProcess::watch() {
  constexpr int kFirst = -20;  // refused without the right to it: then it is as others are
  ::setpriority(PRIO_PROCESS, static_cast<id_t>(::syscall(SYS_gettid)), kFirst);
  const int ended = static_cast<int>(::syscall(SYS_pidfd_open, program_, 0));
  while (!reap()) {
    if (::getppid() != guardian_) give_up(this, "its guardian was killed");
    if (gave_up_) kill_programs();  // one may have been born while the others were looked up
    const int rest_ms = balancer_->look();
    registry_.sweep();
    pollfd waiting{.fd = program_ended_ ? -1 : ended, .events = POLLIN, .revents = 0};
    ::poll(&waiting, 1, rest_ms);
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
  kill_programs();
}

void PagerProcess::kill_programs() noexcept {
  for (const int pid : descendants(::getpid())) ::kill(pid, SIGKILL);
}

std::string PagerProcess::outcome_text() const {
  if (outcome_.exit == kExitSwapFull) return "ended: swap was full";
  if (outcome_.exit != 0) return "ended by the pager";
  if (WIFSIGNALED(outcome_.status)) {
    return "killed by signal " + std::to_string(WTERMSIG(outcome_.status));
  }
  return "exit status " + std::to_string(WEXITSTATUS(outcome_.status));
}

void PagerProcess::tell_what_happened() {
  Report report = observer_->report();
  report.outcome = outcome_text();
  report.replays = !options_.replay_path.empty();
  if (working_sets_) report.recorded_pages = working_sets_->recorded_pages();
  if (!options_.quiet && !gave_up_) {
    const std::string text = summary_text(report);
    std::fputs(text.c_str(), stderr);
  }
  if (!options_.record_path.empty()) keep_recording();
  if (!options_.report_path.empty()) write_report(report);
}

// Of a run that was cut short there is less than of the one before it, perhaps.
void PagerProcess::keep_recording() {
  std::string why;
  if (gave_up_) {
    why = "not written: the run was ended";
  } else if (const int error = write_recording(
                 options_.record_path,
                 working_sets_->recording_of(recorded_program(options_.command.front())));
             error != 0) {
    why = std::strerror(error);
  }
  if (why.empty()) return;
  machine_.print_line(("holdfast: --record " + options_.record_path + ": " + why).c_str());
}

// What cannot be written is said, and changes no exit status.
void PagerProcess::write_report(const Report& report) {
  std::FILE* const file = std::fopen(options_.report_path.c_str(), "we");
  const std::string text = report_for(options_.report_path, report);
  const bool written =
      file != nullptr && std::fwrite(text.data(), 1, text.size(), file) == text.size();
  const bool closed = file != nullptr && std::fclose(file) == 0;
  if (written && closed) return;
  machine_.print_line(
      ("holdfast: --report " + options_.report_path + ": " + std::strerror(errno)).c_str());
}

}  // namespace holdfast::run
