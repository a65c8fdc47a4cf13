#include "image/save_pipeline.h"

namespace holdfast::image {

SavePipeline::SavePipeline(sys::Machine& machine, const SaveContext& context, Encoding encoding,
                           std::uint32_t threads)
    : context_(context) {
  // Two for each worker, so that none waits while results are written, and two for the coordinator.
  for (std::uint32_t i = 0; i < 2 * threads + 2; ++i) {
    places_.push_back(std::make_unique<Place>(encoding));
  }
  for (std::uint32_t i = 0; i < threads; ++i) {
    auto thread = machine.start_thread("holdfast-save", &SavePipeline::work, this);
    if (!thread) break;
    threads_.push_back(std::move(*thread));
  }
}

SavePipeline::~SavePipeline() {
  stop_.store(true);
  news_.fetch_add(1);
  sync::parking().wake(news_, sync::kWakeAll);
  for (auto& thread : threads_) thread->join();
}

SaveJob* SavePipeline::free_job() noexcept {
  const std::uint32_t number = submitted_.load(std::memory_order_relaxed);
  if (number - finished_ == places_.size()) return nullptr;
  Place& next = place(number);
  next.done.store(0, std::memory_order_relaxed);
  next.job.clear();
  return &next.job;
}

void SavePipeline::submit() noexcept {
  submitted_.fetch_add(1, std::memory_order_release);
  news_.fetch_add(1, std::memory_order_release);
  sync::parking().wake(news_, 1);
}

SaveJob* SavePipeline::finish() noexcept {
  if (finished_ == submitted_.load(std::memory_order_relaxed)) return nullptr;
  Place& oldest = place(finished_);
  (void)run_next(finished_);  // nobody has begun with it: no use in waiting
  while (oldest.done.load(std::memory_order_acquire) == 0) {
    sync::parking().wait(oldest.done, 0, 0);
  }
  ++finished_;
  return &oldest.job;
}

// Runs job `number` if it is the next that nobody has claimed.
bool SavePipeline::run_next(std::uint32_t number) noexcept {
  std::uint32_t expected = number;
  if (!claimed_.compare_exchange_strong(expected, number + 1, std::memory_order_acq_rel)) {
    return false;
  }
  Place& mine = place(number);
  mine.job.run(context_);
  mine.done.store(1, std::memory_order_release);
  sync::parking().wake(mine.done, 1);
  return true;
}

void SavePipeline::work(void* self) noexcept { static_cast<SavePipeline*>(self)->work(); }

void SavePipeline::work() noexcept {
  while (!stop_.load(std::memory_order_acquire)) {
    const std::uint32_t news = news_.load(std::memory_order_acquire);
    const std::uint32_t next = claimed_.load(std::memory_order_acquire);
    // Differences, as numbers wrap: nothing is submitted beyond what is claimed.
    if (submitted_.load(std::memory_order_acquire) == next) {
      if (!stop_.load(std::memory_order_acquire)) sync::parking().wait(news_, news, 0);
    } else {
      (void)run_next(next);
    }
  }
}

}  // namespace holdfast::image
