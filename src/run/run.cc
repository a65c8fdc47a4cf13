// The guardian: starts the pager, passes signals on, and outlives both pager and program.
#include "run/run.h"

#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <new>
#include <utility>

#include "run/needs.h"
#include "run/pager_process.h"
#include "run/program.h"
#include "run/program_file.h"
#include "run/recording.h"
#include "run/status_line.h"

namespace holdfast::run {
namespace {

constexpr int kPassedOn[] = {SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2};

SharedOutcome* g_outcome = nullptr;

// What somebody sends to the guardian is meant for the program. What the terminal sends, the
// program has got too.
void pass_on(int signal, siginfo_t* info, void*) {
  const int saved = errno;
  const int program = g_outcome->program.load();
  if (info->si_code <= 0 && program > 0) ::kill(program, signal);
  errno = saved;
}

void handle_signals() {
  for (const int signal : kPassedOn) {
    struct sigaction action{};
    action.sa_sigaction = &pass_on;
    action.sa_flags = SA_SIGINFO | SA_RESTART;
    ::sigaction(signal, &action, nullptr);
  }
}

struct PagerMain {
  const RunOptions* options;
  SharedOutcome* outcome;
  int guardian;
  Recording* replayed;
};

void* pager_main(void* argument) {
  const auto& task = *static_cast<PagerMain*>(argument);
  ::prctl(PR_SET_NAME, "holdfast-watch");
  PagerProcess pager(*task.options, *task.outcome, task.guardian, std::move(*task.replayed));
  pager.run();
  return nullptr;
}

// In the pager's process, which was cloned and not forked: libc's idea of its thread is that of the
// guardian. So everything happens in a new one.
[[noreturn]] void be_pager(const RunOptions& options, SharedOutcome& outcome, int guardian,
                           Recording& replayed) {
  ::prctl(PR_SET_CHILD_SUBREAPER, 1);
  ::prctl(PR_SET_NAME, "holdfast-pager");
  PagerMain task{
      .options = &options, .outcome = &outcome, .guardian = guardian, .replayed = &replayed};
  pthread_t thread{};
  if (::pthread_create(&thread, nullptr, &pager_main, &task) == 0) {
    ::pthread_join(thread, nullptr);
  }
  std::fflush(nullptr);
  ::_exit(0);
}

int refuse(int exit, const char* what, const char* remedy) {
  std::fprintf(stderr, "holdfast: run: %s: %s\n", what, remedy);
  return exit;
}

// The program ended by a signal: so do we, for whoever waits for us to see.
[[noreturn]] void die_by(int signal) {
  const rlimit no_core{.rlim_cur = 0, .rlim_max = 0};
  ::setrlimit(RLIMIT_CORE, &no_core);
  ::signal(signal, SIG_DFL);
  sigset_t one;
  ::sigemptyset(&one);
  ::sigaddset(&one, signal);
  ::sigprocmask(SIG_UNBLOCK, &one, nullptr);
  ::kill(::getpid(), signal);
  ::_exit(128 + signal);
}

int conclude(const SharedOutcome& outcome, int pager_status) {
  if (const unsigned rows = outcome.status_rows.load(); rows != 0) {
    std::fputs(status_row_removal(rows).c_str(), stderr);
  }
  if (!outcome.told.load()) {
    std::fprintf(stderr,
                 "holdfast: the pager was killed (signal %d): the program was ended before it "
                 "could read a wrong byte\n",
                 WIFSIGNALED(pager_status) ? WTERMSIG(pager_status) : 0);
    return kExitPagerFailed;
  }
  if (outcome.exit != 0) return outcome.exit;
  if (WIFSIGNALED(outcome.status)) die_by(WTERMSIG(outcome.status));
  return WEXITSTATUS(outcome.status);
}

// Asked before a run that may take hours, not after it.
int check_report(const std::string& path) {
  if (path.empty()) return 0;
  std::FILE* const file = std::fopen(path.c_str(), "ae");
  if (file != nullptr) {
    std::fclose(file);
    return 0;
  }
  std::fprintf(stderr, "holdfast: run: --report %s: %s: name a file that can be written\n",
               path.c_str(), std::strerror(errno));
  return kExitUsage;
}

int refuse_file(const char* flag, const std::string& path, const std::string& why,
                const char* remedy) {
  std::fprintf(stderr, "holdfast: run: %s %s: %s: %s\n", flag, path.c_str(), why.c_str(), remedy);
  return kExitUsage;
}

// Reads what is replayed. One of another program is said, and does no harm: it is not replayed.
int prepare_recordings(const RunOptions& options, Recording& replayed) {
  if (options.record_path.empty() && options.replay_path.empty()) return 0;
  if (!options.replay_path.empty()) {
    auto read = read_recording(options.replay_path);
    if (!read) {
      return refuse_file("--replay", options.replay_path, read.error(),
                         "make it anew by --record, or run without --replay");
    }
    const std::string program = recorded_program(options.command.front());
    if (read->program == program) {
      replayed = std::move(*read);
    } else {
      std::fprintf(stderr,
                   "holdfast: run: --replay %s is of %s, not of %s: nothing is brought in ahead\n",
                   options.replay_path.c_str(), read->program.c_str(), program.c_str());
    }
  }
  if (!options.record_path.empty()) {
    if (const int error = check_recording_path(options.record_path); error != 0) {
      return refuse_file("--record", options.record_path, std::strerror(error),
                         "name a file that can be written");
    }
  }
  if (const int error = fix_addresses(); error != 0) {
    return refuse_file("--record and --replay", "need the same addresses each time",
                       std::string("personality: ") + std::strerror(error),
                       "allow personality(2), or leave them out");
  }
  return 0;
}

// What is printed must not land in a file that took the number of a stream which is closed. The
// program finds it closed, as it would.
void occupy_standard_streams() {
  for (int stream = STDIN_FILENO; stream <= STDERR_FILENO; ++stream) {
    if (::fcntl(stream, F_GETFD) < 0) ::open("/dev/null", O_RDWR | O_CLOEXEC);
  }
}

int check_environment(const RunOptions& options) {
  if (options.command.empty()) {
    return refuse(kExitUsage, "no program", "name one after --");
  }
  if (options.memory_bytes < Budget::kLeast) {
    return refuse(kExitUsage, "--memory is too small to run anything in", "give at least 16M");
  }
  const std::string why = refusal(probe_needs(options.shim));
  if (why.empty()) return check_report(options.report_path);
  std::fprintf(stderr, "holdfast: run: %s; `holdfast doctor` says more\n", why.c_str());
  return kExitUsage;
}

}  // namespace

int run(const RunOptions& options) {
  occupy_standard_streams();
  if (const int refused = check_environment(options); refused != 0) return refused;
  Recording replayed;
  if (const int refused = prepare_recordings(options, replayed); refused != 0) return refused;
  void* const memory = ::mmap(nullptr, sizeof(SharedOutcome), PROT_READ | PROT_WRITE,
                              MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) return refuse(kExitUsage, "no memory", std::strerror(errno));
  g_outcome = new (memory) SharedOutcome();
  ::prctl(PR_SET_CHILD_SUBREAPER, 1);
  const int guardian = ::getpid();
  std::fflush(nullptr);
  const long pager = ::syscall(SYS_clone, CLONE_FILES | SIGCHLD, 0, 0, 0, 0);
  if (pager < 0) return refuse(kExitUsage, "no pager", std::strerror(errno));
  if (pager == 0) be_pager(options, *g_outcome, guardian, replayed);
  replayed = Recording();
  handle_signals();
  int status = 0;
  while (::waitpid(static_cast<pid_t>(pager), &status, 0) < 0 && errno == EINTR) {
  }
  kill_descendants();
  return conclude(*g_outcome, status);
}

}  // namespace holdfast::run
