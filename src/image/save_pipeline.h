// Runs the jobs of a save on several threads, and hands their results back in order.
//
// Who owns what: the pipeline owns its jobs and threads. One thread, the coordinator, fills jobs
// and takes results; workers run what it has submitted, oldest first. The coordinator runs jobs too
// when it would only wait, so that a save needs no worker at all.
//
//   a job:  free ──fill, submit──▶ submitted ──claim──▶ (runs) ──▶ done ──finish, clear──▶ free
//
// Jobs are numbered; number n stands at place n % kJobs. claimed_ <= submitted_ <= finished_ +
// kJobs.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "image/save_job.h"
#include "sync/sync.h"
#include "sys/sys.h"

namespace holdfast::image {

class SavePipeline {
 public:
  static constexpr std::uint32_t kThreadsMax = 64;

  // threads: workers wanted; fewer where the machine refuses, which only takes longer.
  SavePipeline(sys::Machine& machine, const SaveContext& context, Encoding encoding,
               std::uint32_t threads);
  ~SavePipeline();
  SavePipeline(const SavePipeline&) = delete;
  SavePipeline& operator=(const SavePipeline&) = delete;

  // --- the coordinator's, all of it ---
  // A job to fill, or null: all are under way, finish one first.
  [[nodiscard]] SaveJob* free_job() noexcept;
  // The job that free_job() gave last is filled.
  void submit() noexcept;
  // The oldest submitted job, run by now (waits, or runs it), until the next call; null: none.
  [[nodiscard]] SaveJob* finish() noexcept;

 private:
  struct Place {
    explicit Place(Encoding encoding) : job(encoding) {}
    SaveJob job;
    std::atomic<std::uint32_t> done{0};  // 1: it has been run
  };

  static void work(void* self) noexcept;
  void work() noexcept;
  bool run_next(std::uint32_t number) noexcept;
  [[nodiscard]] Place& place(std::uint32_t number) noexcept {
    return *places_[number % places_.size()];
  }

  const SaveContext& context_;
  std::vector<std::unique_ptr<Place>> places_;
  std::vector<std::unique_ptr<sys::Thread>> threads_;
  // Numbers wrap around; what counts is their differences.
  std::uint32_t finished_ = 0;               // jobs whose results were taken
  std::atomic<std::uint32_t> submitted_{0};  // by the coordinator
  std::atomic<std::uint32_t> claimed_{0};    // by whoever runs them
  std::atomic<std::uint32_t> news_{0};       // changes when a worker should look again
  std::atomic<bool> stop_{false};
};

}  // namespace holdfast::image
