#include "engine/ready_queue.h"

#include <span>

namespace holdfast::engine {

namespace {

constexpr const char* kDoing = "wait for pages";

std::unexpected<Error> region_is_gone() noexcept {
  return fail({.code = Errc::not_mapped,
               .doing = kDoing,
               .what = "region",
               .remedy = "it was unmapped before its pages came: wait for them first"});
}

std::unexpected<Error> was_cancelled() noexcept {
  return fail({.code = Errc::cancelled, .doing = kDoing});
}

}  // namespace

void ReadyQueue::List::push_back(Request& request) noexcept {
  request.next = nullptr;
  request.previous = last_;
  (last_ == nullptr ? first_ : last_->next) = &request;
  last_ = &request;
}

void ReadyQueue::List::remove(Request& request) noexcept {
  (request.previous == nullptr ? first_ : request.previous->next) = request.next;
  (request.next == nullptr ? last_ : request.next->previous) = request.previous;
  request.next = request.previous = nullptr;
}

void ReadyQueue::stop() noexcept {
  {
    const Guard guard(lock_);
    stop_ = true;
    while (waiting_.front() != nullptr) {
      Request& request = *waiting_.front();
      waiting_.remove(request);
      finish(request, region_is_gone());
    }
    wake_thread();
  }
  if (thread_ != nullptr) thread_->join();
  thread_ = nullptr;
}

// --- who waits ---

Expected<bool> ReadyQueue::wait(Request& request, space::RegionRecord& region,
                                std::uint64_t offset) {
  const std::uint64_t first = offset >> kPageShift;
  const std::uint64_t end = pages_for(offset + request.bytes).value;
  const std::uint64_t most = space_.most_at_once();
  if (end - first > most) {
    return fail(
        {.code = Errc::budget_exceeded,
         .doing = kDoing,
         .what = "bytes",
         .value = request.bytes,
         .limit = most << kPageShift,
         .remedy = "what comes last would push out what came first: wait for less at once"});
  }
  request.result = 0;  // it may have been waited for before
  if (space_.is_resident(region, first, end)) return false;
  TRY_VOID(start());
  const Guard guard(lock_);
  request.waiters.store(this);
  request.region = &region;
  request.first = first;
  request.end = end;
  request.came = 0;
  request.cancelled = false;
  request.state = Request::State::waiting;
  waiting_.push_back(request);
  wake_thread();
  return true;
}

Expected<void> ReadyQueue::start() {
  if (started_.load()) return {};
  const sync::TurnGuard turn(starting_);
  if (started_.load()) return {};
  const auto run = [](void* self) { static_cast<ReadyQueue*>(self)->serve_forever(); };
  thread_ = TRY(machine_.start_thread("hf-ready", run, this));
  started_.store(true);
  return {};
}

void ReadyQueue::wake_thread() {
  if (!asleep_) return;
  asleep_ = false;
  work_.fetch_add(1);
  sync::parking().wake(work_, 1);
}

void ReadyQueue::forget(Request& request) noexcept {
  for (;;) {
    const std::uint32_t seen = rounds_.load();
    {
      const Guard guard(lock_);
      using enum Request::State;
      if (request.state == waiting) waiting_.remove(request);
      if (request.state == done) done_.remove(request);
      if (request.state != served) {
        request.state = apart;
        request.waiters.store(nullptr);
        return;
      }
      request.forgotten = true;
    }
    sync::parking().wait(rounds_, seen, 0);
  }
}

// What is served is over when its round is.
void ReadyQueue::cancel(Request& request) noexcept {
  const Guard guard(lock_);
  request.cancelled = true;
  if (request.state != Request::State::waiting) return;
  waiting_.remove(request);
  finish(request, was_cancelled());
}

void ReadyQueue::leave(space::RegionRecord& region) noexcept {
  for (;;) {
    const std::uint32_t seen = rounds_.load();
    {
      const Guard guard(lock_);
      for (Request* at = waiting_.front(); at != nullptr;) {
        Request& request = *at;
        at = request.next;
        if (request.region != &region) continue;
        waiting_.remove(request);
        finish(request, region_is_gone());
      }
      if (served_ != &region) return;
    }
    sync::parking().wait(rounds_, seen, 0);
  }
}

// It is on no list.
void ReadyQueue::finish(Request& request, Expected<std::uint64_t> result) {
  request.result = result;
  request.state = Request::State::done;
  done_.push_back(request);
  wake_thread();
}

// --- the thread ---

void ReadyQueue::serve_forever() noexcept {
  for (;;) {
    resume_done();
    if (serve_round()) continue;
    const std::uint32_t seen = work_.load();
    {
      const Guard guard(lock_);
      if (done_.front() != nullptr || waiting_.front() != nullptr) continue;
      if (stop_) return;
      asleep_ = true;
    }
    sync::parking().wait(work_, seen, 0);
  }
}

// Foreign code, in task context: it may wait for more, and destroy others that wait.
void ReadyQueue::resume_done() noexcept {
  for (;;) {
    std::coroutine_handle<> waiter;
    {
      const Guard guard(lock_);
      Request* const request = done_.front();
      if (request == nullptr) return;
      done_.remove(*request);
      request->state = Request::State::apart;
      request->waiters.store(nullptr);
      waiter = request->waiter;
    }
    waiter.resume();
  }
}

// False: nobody waits.
bool ReadyQueue::serve_round() noexcept {
  const sync::EngineScope scope;
  space::RegionRecord* region = nullptr;
  {
    const Guard guard(lock_);
    take_round();
    region = served_;
  }
  if (region == nullptr) return false;
  const auto result = space_.bring_in_together(*region, std::span(wanted_.data(), count_));
  {
    const Guard guard(lock_);
    end_round(result);
  }
  rounds_.fetch_add(1);
  sync::parking().wake(rounds_, sync::kWakeAll);
  return true;
}

void ReadyQueue::take_round() {
  count_ = 0;
  if (waiting_.front() == nullptr) return;
  served_ = static_cast<space::RegionRecord*>(waiting_.front()->region);
  std::uint64_t pages = 0;
  for (Request* at = waiting_.front(); at != nullptr && pages < space::kRunMax;) {
    Request& request = *at;
    at = request.next;
    if (request.region != served_) continue;
    waiting_.remove(request);
    request.state = Request::State::served;
    pages += request.end - request.first;
    requests_[count_] = &request;
    wanted_[count_++] = {.first = request.first, .end = request.end, .came = request.came};
  }
}

void ReadyQueue::end_round(const Expected<void>& result) {
  served_ = nullptr;
  for (std::uint32_t i = 0; i < count_; ++i) {
    Request& request = *requests_[i];
    const space::WantedPages& wanted = wanted_[i];
    request.first = wanted.first;
    request.end = wanted.end;
    request.came = wanted.came;
    if (request.forgotten) {
      request.state = Request::State::apart;
    } else if (!result) {
      finish(request, region_is_gone());
    } else if (wanted.failed) {
      finish(request, std::unexpected(wanted.error));
    } else if (wanted.is_over()) {
      finish(request, wanted.came);
    } else if (request.cancelled) {
      finish(request, was_cancelled());
    } else {
      request.state = Request::State::waiting;
      waiting_.push_back(request);
    }
  }
}

}  // namespace holdfast::engine
