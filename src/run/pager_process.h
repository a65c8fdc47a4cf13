// The pager's process: makes the parts, starts the program, watches its tree, and tells in the end
// what happened.
#pragma once

#include <atomic>
#include <memory>
#include <optional>

#include "run/balancer.h"
#include "run/evictor.h"
#include "run/observer.h"
#include "run/registrar.h"
#include "run/report.h"
#include "run/run.h"
#include "run/working_sets.h"

namespace holdfast::run {

// What guardian and pager share: memory that both map.
struct SharedOutcome {
  std::atomic<int> program{0};    // process id
  std::atomic<bool> told{false};  // `status` and `exit` mean something
  int exit = 0;  // the status to exit with, where the program's is not to be had; 0
  std::atomic<unsigned> status_rows{0};  // of the terminal, if its lowest is taken; 0
  int status = 0;                        // of the program, as waitpid() gives it
};

class PagerProcess {
 public:
  // `replayed`: empty: nothing is.
  PagerProcess(const RunOptions& options, SharedOutcome& outcome, int guardian, Recording replayed);
  ~PagerProcess();
  PagerProcess(const PagerProcess&) = delete;
  PagerProcess& operator=(const PagerProcess&) = delete;

  // Runs the program to its end. Blocks; all the work is done in threads of its own.
  void run();

 private:
  Expected<void> build();
  Expected<void> prepare_loads(const std::vector<swap::TierOptions>& tiers);
  Expected<void> prepare_far_memory(const swap::TierOptions& far);
  Expected<void> prepare_read_ahead();
  Expected<void> start();
  void watch();
  bool reap();
  std::string outcome_text() const;
  void tell_what_happened();
  void write_report(const Report& report);
  void keep_recording();
  static void give_up(void* context, const char* why) noexcept;
  static void kill_programs() noexcept;
  void end_with(int exit, const std::string& why);

  const RunOptions& options_;
  SharedOutcome& outcome_;
  const int guardian_;
  sys::Machine& machine_;
  Counters counters_;
  std::unique_ptr<Budget> budget_;
  std::unique_ptr<swap::Swap> swap_;
  std::unique_ptr<EvictionBuffers> buffers_;
  std::unique_ptr<SlotLoads> far_loads_;   // null: faults wait where they are served
  std::unique_ptr<SlotLoads> read_ahead_;  // null: there is no room for it
  Recording replayed_;                     // until the working sets have it
  std::optional<WorkingSets> working_sets_;
  std::unique_ptr<Parts> parts_;
  Registry registry_;  // its clients' threads use all of the above until they have ended
  std::optional<Evictor> evictor_;
  std::optional<Registrar> registrar_;
  std::optional<Balancer> balancer_;
  std::optional<Observer> observer_;
  int program_ = 0;
  bool program_ended_ = false;
  std::atomic<bool> gave_up_{false};
};

}  // namespace holdfast::run
