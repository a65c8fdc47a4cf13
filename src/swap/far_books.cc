// FarTier: what answers come to, and what is removed.
#include <algorithm>
#include <cerrno>

#include "swap/far_tier.h"

namespace holdfast::swap {

// Looks at every answer that has come, and begins what is due. The mutex is held.
void FarTier::tend(Deeds& deeds) noexcept {
  const std::uint32_t answers = answers_.load(std::memory_order_acquire);
  const bool idle = failed_.load(std::memory_order_relaxed) == 0 && to_remove_ == base::kNoLink;
  if (answers == tended_ && idle) return;
  tended_ = answers;
  for (std::uint32_t b = 0; b < options_.staging; ++b) tend_write(b, deeds);
  for (std::uint32_t i = 0; i < kRemovals; ++i) tend_removal(i);
  begin_removals(deeds);
}

void FarTier::tend_write(std::uint32_t b, Deeds& deeds) noexcept {
  Buffer& buffer = buffers_[b];
  if (buffer.object == base::kNoLink) return;
  const std::uint32_t index = buffer.object;
  Object& o = objects_[index];
  if (buffer.answered.load(std::memory_order_acquire)) {
    buffer.answered.store(false, std::memory_order_relaxed);
    const int error = buffer.request.error;
    last_error_.store(error, std::memory_order_relaxed);
    --in_flight_;
    heard_at_ = machine_.now_ns();
    if (error == 0) {
      counters_.written.fetch_add(buffer.request.bytes, std::memory_order_relaxed);
      o.state = State::stored;
      stored_.fetch_add(1, std::memory_order_relaxed);
      detach(o);
      return drop_own_use(index);
    }
    counters_.write_errors.fetch_add(1, std::memory_order_relaxed);
    o.state = State::failed;
    buffer.failed_at = heard_at_;
    failed_.fetch_add(1, std::memory_order_relaxed);
  }
  if (o.state != State::failed || closing_) return;
  if (static_cast<std::uint32_t>(o.uses.load(std::memory_order_acquire)) == 1) {
    failed_.fetch_sub(1, std::memory_order_relaxed);
    return abandon(index);  // nothing in it is wanted any more
  }
  const int error = buffer.request.error;
  if (error == ESTALE || !store_->owns_session()) return;
  if (error != ETIMEDOUT && machine_.now_ns() - buffer.failed_at < kRetryRest) return;
  failed_.fetch_sub(1, std::memory_order_relaxed);
  o.state = State::sealed;
  if (in_flight_++ == 0) heard_at_ = machine_.now_ns();
  deeds.writes |= std::uint64_t{1} << b;  // the same bytes to the same object
}

void FarTier::tend_removal(std::uint32_t i) noexcept {
  Removal& removal = removals_[i];
  if (!removal.answered.load(std::memory_order_acquire)) return;
  removal.answered.store(false, std::memory_order_relaxed);
  const std::uint32_t index = std::exchange(removal.object, base::kNoLink);
  const int error = removal.request.error;
  // A session that has lost its lock leaves its objects to whoever has it.
  if (error == 0 || error == ENOENT || error == ESTALE) return forget(index);
  objects_[index].link = to_remove_;
  to_remove_ = index;
  remove_after_ = machine_.now_ns() + kRetryRest;
}

void FarTier::begin_removals(Deeds& deeds) noexcept {
  if (to_remove_ == base::kNoLink || closing_) return;
  if (remove_after_ != 0 && machine_.now_ns() < remove_after_) return;
  remove_after_ = 0;
  for (std::uint32_t i = 0; i < kRemovals && to_remove_ != base::kNoLink; ++i) {
    Removal& removal = removals_[i];
    if (removal.object != base::kNoLink) continue;
    removal.object = to_remove_;
    to_remove_ = objects_[removal.object].link;
    removal.request = {.action = sys::ObjectAction::remove,
                       .object = objects_[removal.object].number,
                       .done = &FarTier::removal_answered,
                       .context = &removal};
    deeds.removals |= 1U << i;
  }
}

// The object's bytes are read from the store from now on.
void FarTier::detach(Object& o) noexcept {
  const std::uint32_t b = o.buffer - 1;
  o.buffer = 0;
  buffers_[b].attached = false;
  if (buffers_[b].readers == 0) release_buffer(b);
}

void FarTier::release_buffer(std::uint32_t b) noexcept { buffers_[b].object = base::kNoLink; }

// The object is stored now; if nothing in it lives any more, it is to go.
void FarTier::drop_own_use(std::uint32_t index) noexcept {
  Object& o = objects_[index];
  const std::uint64_t old = o.uses.fetch_sub(1, std::memory_order_acq_rel);
  HF_DCHECK2(static_cast<std::uint32_t>(old) != 0, index, old);
  if (static_cast<std::uint32_t>(old) != 1) return;
  stored_.fetch_sub(1, std::memory_order_relaxed);
  o.state = State::removing;
  o.link = to_remove_;
  to_remove_ = index;
}

// Nothing in it lives, and its bytes are in a buffer still.
void FarTier::abandon(std::uint32_t index) noexcept {
  Object& o = objects_[index];
  detach(o);
  o.uses.store(0, std::memory_order_relaxed);
  if (!o.sent) return forget(index);
  o.state = State::removing;  // a write that failed may have happened
  o.link = to_remove_;
  to_remove_ = index;
}

void FarTier::forget(std::uint32_t index) noexcept {
  Object& o = objects_[index];
  if (o.sent) held_.fetch_sub(object_size(o), std::memory_order_relaxed);
  o.sent = false;
  o.state = State::unused;
  o.link = free_objects_;
  free_objects_ = index;
}

// An image or a hold less.
void FarTier::drop(std::uint32_t index, std::uint32_t units) noexcept {
  Object& o = objects_[index];
  live_units_.fetch_sub(units, std::memory_order_relaxed);
  const std::uint64_t old = o.uses.fetch_sub(use_word(1, units), std::memory_order_acq_rel);
  HF_CHECK2(static_cast<std::uint32_t>(old) >= 1 && old >> 32 >= units, index, old);
  if (static_cast<std::uint32_t>(old) != 1) return;
  HF_INTERLEAVE();
  Deeds deeds;
  {
    const Guard guard(mutex_);
    HF_DCHECK2(o.state == State::stored, index, static_cast<int>(o.state));
    stored_.fetch_sub(1, std::memory_order_relaxed);
    o.state = State::removing;
    o.link = to_remove_;
    to_remove_ = index;
    tend(deeds);
  }
  carry_out(deeds);
}

void FarTier::carry_out(const Deeds& deeds) noexcept {
  for (std::uint32_t b = 0; b < options_.staging; ++b) {
    if ((deeds.writes >> b & 1) != 0) store_->submit(buffers_[b].request);
  }
  for (std::uint32_t i = 0; i < kRemovals; ++i) {
    if ((deeds.removals >> i & 1) != 0) store_->submit(removals_[i].request);
  }
}

// --- the end ---

// Waits for what is in flight, and removes what is in the store; what cannot be removed is left to
// `holdfast far gc`.
void FarTier::close() noexcept {
  const auto in_flight = [this] {
    const Guard guard(mutex_);
    closing_ = true;
    Deeds none;
    tend(none);
    std::uint32_t removals = 0;
    for (const Removal& removal : removals_) removals += removal.object != base::kNoLink ? 1 : 0;
    return in_flight_ + removals;
  };
  for (;;) {
    const std::uint32_t seen = answers_.load(std::memory_order_acquire);
    if (in_flight() == 0) break;
    sync::parking().wait(answers_, seen, 0);
  }
  while (move_area_.left.load(std::memory_order_acquire) != 0) {  // what the mover gave up
    sync::parking().wait(move_area_.left, 1, 0);
  }
  if (store_->owns_session()) (void)remove_all_stored();
}

// False: the store does not answer.
bool FarTier::remove_all_stored() noexcept {
  std::uint32_t next = 0;
  bool answers = true;
  std::uint32_t busy = 0;
  for (;;) {
    const std::uint32_t seen = answers_.load(std::memory_order_acquire);
    for (Removal& removal : removals_) {
      if (removal.answered.exchange(false, std::memory_order_acquire)) {
        removal.object = base::kNoLink;
        --busy;
        answers = answers && removal.request.error != ETIMEDOUT;
      }
      if (removal.object != base::kNoLink || !answers) continue;
      while (next < touched_.load() && !objects_[next].sent) ++next;
      if (next == touched_.load()) continue;
      removal.object = next;
      removal.request = {.action = sys::ObjectAction::remove,
                         .object = objects_[next++].number,
                         .done = &FarTier::removal_answered,
                         .context = &removal};
      ++busy;
      store_->submit(removal.request);
    }
    if (busy == 0 && (!answers || next == touched_.load())) return answers;
    sync::parking().wait(answers_, seen, 0);
  }
}

}  // namespace holdfast::swap
