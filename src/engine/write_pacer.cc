#include "engine/write_pacer.h"

#include "base/base.h"

namespace holdfast::engine {

namespace {

constexpr std::uint64_t kMillisecond = 1'000'000;

}  // namespace

WritePace write_pace(const Options& options) noexcept {
  const WriteBack& from = options.write_back;
  const std::uint64_t budget = options.memory_budget >> kPageShift;
  return {.interval_ns = from.interval_ms * kMillisecond,
          .age_ns = from.age_ms * kMillisecond,
          .pages_max =
              from.budget_percent >= 100 ? ~std::uint64_t{0} : budget * from.budget_percent / 100};
}

void WritePacer::rest(std::uint64_t now_ns) noexcept {
  writing_ = false;
  at_ = 0;
  count_ = 0;
  due_ns_ = std::max(due_ns_, now_ns + pace_.interval_ns);
  last_ns_ = begun_ns_;
}

void WritePacer::looked(std::uint64_t now_ns, std::uint64_t count, std::uint64_t next,
                        std::uint64_t pages) noexcept {
  if (at_ == 0) begun_ns_ = now_ns;
  count_ += count;
  at_ = next;
  due_ns_ = now_ns;
  const bool many = count_ > pace_.pages_max;
  if (next < pages && !many) return;
  if (!seen_) seen_ns_ = last_ns_;
  seen_ = count_ > 0;
  if (!seen_ || (!many && now_ns - seen_ns_ < pace_.age_ns)) return rest(now_ns);
  writing_ = true;
  begun_ns_ = now_ns;
  at_ = 0;
  count_ = 0;
  failed_ = false;
}

void WritePacer::wrote(std::uint64_t begun_ns, std::uint64_t now_ns, std::uint64_t count,
                       std::uint64_t next, std::uint64_t pages, bool failed) noexcept {
  at_ = next;
  count_ += count;
  due_ns_ = now_ns + (now_ns - begun_ns);
  if (failed) {
    pause_ns_ = std::clamp(2 * pause_ns_, kPauseMin, kPauseMax);
    due_ns_ = now_ns + pause_ns_;
    failed_ = true;
  }
  if (next < pages) return;
  seen_ = failed_;  // what could not be written has its age
  if (!failed_) pause_ns_ = 0;
  due_ns_ = std::max(due_ns_, now_ns + std::min(count_ * kRestForPage, pace_.age_ns));
  rest(now_ns);
}

}  // namespace holdfast::engine
