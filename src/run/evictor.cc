#include "run/evictor.h"

#include <algorithm>
#include <functional>
#include <utility>

namespace holdfast::run {
namespace {

constexpr int kIdleMs = 50;            // how often housekeeping looks, with nothing to do
constexpr int kStuckMs = 5;            // how soon to try again when nothing could leave
constexpr int kWindowsTriedMax = 256;  // of one client in one turn: most hold nothing any more
constexpr int kMaintenanceMax = 8;     // passes of the swap's housekeeping in one turn

}  // namespace

Expected<void> Evictor::start() {
  owners_.resize(parts_.buffers.size());
  thread_ = TRY(parts_.machine.start_thread("holdfast-evict", &Evictor::main, this));
  const std::uint32_t storers = std::min(parts_.machine.cpu_count() - 1, kStorersMax);
  for (std::uint32_t i = 0; i < storers; ++i) {
    storers_.push_back(
        TRY(parts_.machine.start_thread("holdfast-store", &Evictor::storer_main, this)));
  }
  return {};
}

void Evictor::stop() {
  if (!thread_) return;
  parts_.budget.stop();
  thread_->join();
  thread_.reset();
  for (const auto& storer : storers_) storer->join();
  storers_.clear();
}

void Evictor::main(void* self) { static_cast<Evictor*>(self)->run(); }
void Evictor::storer_main(void* self) { static_cast<Evictor*>(self)->run_storer(); }

void Evictor::run() {
  int timeout = kIdleMs;
  while (parts_.budget.wait_for_work(timeout)) {
    look_at_buffers();
    if (parts_.budget.is_low()) make_room();
    kick_starved();
    // One buffer stands free, so that the next need is met without waiting for the compression.
    if (free_buffer() == nullptr) empty_oldest();
    for (int i = 0; i < kMaintenanceMax && parts_.swap.maintain(); ++i) {
    }
    timeout = parts_.stuck.load() || full_since_ns_ != 0 ? kStuckMs : kIdleMs;
  }
}

// What cannot be stored is left to the evictor, which meets it next.
void Evictor::run_storer() {
  std::uint64_t shortages = 0;
  while (parts_.budget.wait_for_shortage(shortages)) {
    std::optional<Claim> claim = claim_oldest();
    if (!claim) continue;
    store(std::move(*claim));
    parts_.budget.wake_evictor();
  }
}

// Buffers that have filled late join the queue; those that have gone with their program are free.
void Evictor::look_at_buffers() {
  const std::lock_guard lock(queue_mutex_);
  for (std::uint32_t i = 0; i < parts_.buffers.size(); ++i) {
    const EvictionBuffer::State state = parts_.buffers[i].state.load();
    if (state == EvictionBuffer::State::free) {
      std::erase(full_, i);
      owners_[i] = Registry::Use();
    } else if (state == EvictionBuffer::State::full && std::ranges::find(full_, i) == full_.end()) {
      full_.push_back(i);
    }
  }
}

EvictionBuffer* Evictor::free_buffer() {
  for (std::uint32_t i = 0; i < parts_.buffers.size(); ++i) {
    if (parts_.buffers[i].state.load() == EvictionBuffer::State::free) return &parts_.buffers[i];
  }
  return nullptr;
}

void Evictor::make_room() {
  while (!parts_.budget.is_relaxed()) {
    if (free_buffer() == nullptr && !empty_oldest()) {
      look_at_buffers();
      if (free_buffer() == nullptr) break;
    }
    const Taken taken = take_out_one();
    parts_.stuck.store(taken == Taken::nothing && full_since_ns_ == 0);
    kick_starved();
    release_held();
    if (taken == Taken::nothing) break;
    for (int i = 0; i < kMaintenanceMax && parts_.swap.maintain(); ++i) {
    }
  }
  if (parts_.budget.is_relaxed()) parts_.stuck.store(false);
}

Evictor::Taken Evictor::take_out_one() {
  // The most first. How many they have changes meanwhile, which a sort must not see.
  std::vector<std::pair<std::uint64_t, Registry::Use>> clients;
  for (Registry::Use& client : registry_.all()) {
    const std::uint64_t queued = client->windows_queued();
    clients.emplace_back(queued, std::move(client));
  }
  std::ranges::sort(clients, std::greater<>(), &decltype(clients)::value_type::first);
  for (auto& [queued, client] : clients) {
    EvictionBuffer* const buffer = free_buffer();
    if (buffer == nullptr) return Taken::nothing;
    if (take_out_of(client, *buffer) == Taken::pages) return Taken::pages;
  }
  return Taken::nothing;
}

Evictor::Taken Evictor::take_out_of(Registry::Use& client, EvictionBuffer& buffer) {
  bool tried = true;
  for (int i = 0; i < kWindowsTriedMax && tried; ++i) {
    const std::uint32_t pages = client->take_window_out(buffer, tried);
    client->unshare_busy();
    if (buffer.state.load() != EvictionBuffer::State::free) {
      {
        const std::lock_guard lock(queue_mutex_);
        owners_[buffer.index()] = std::move(client);
      }
      look_at_buffers();
      return pages > 0 ? Taken::pages : Taken::nothing;
    }
  }
  return Taken::nothing;
}

// Stores the oldest full buffer. False: there is none, or it could not be emptied.
bool Evictor::empty_oldest() {
  look_at_buffers();
  std::optional<Claim> claim = claim_oldest();
  if (!claim) return false;
  const Client::Stored stored = store(std::move(*claim));
  if (stored == Client::Stored::all) {
    full_since_ns_ = 0;
  } else {
    swap_is_full();
  }
  look_at_buffers();
  return stored != Client::Stored::some_left;
}

std::optional<Evictor::Claim> Evictor::claim_oldest() {
  const std::lock_guard lock(queue_mutex_);
  while (!full_.empty()) {
    const std::uint32_t index = full_.front();
    full_.pop_front();
    if (parts_.buffers[index].claim()) {
      return Claim{.index = index, .owner = std::move(owners_[index])};
    }
  }
  return std::nullopt;
}

Client::Stored Evictor::store(Claim claim) {
  EvictionBuffer& buffer = parts_.buffers[claim.index];
  const Client::Stored stored = claim.owner->store_buffer(buffer);
  if (stored == Client::Stored::some_left) {
    const std::lock_guard lock(queue_mutex_);
    owners_[claim.index] = std::move(claim.owner);
    full_.push_back(claim.index);
    buffer.state = EvictionBuffer::State::full;
  }
  return stored;
}

void Evictor::kick_starved() {
  for (const Registry::Use& client : registry_.all()) {
    if (client->starved()) client->kick();
  }
}

// Held programs go on when there is room again, or when holding them makes none.
void Evictor::release_held() {
  if (parts_.budget.is_low() && !parts_.stuck.load()) return;
  for (const Registry::Use& client : registry_.all()) client->release();
}

// Programs that need room wait meanwhile: somebody may end, or a disk be cleared.
void Evictor::swap_is_full() {
  const std::uint64_t now = parts_.machine.now_ns();
  if (full_since_ns_ == 0) full_since_ns_ = now;
  if (!told_full_) {
    told_full_ = true;
    parts_.machine.print_line(
        "holdfast: swap is full: the program waits (--swap says what tiers there are)");
  }
  if (now - full_since_ns_ >= parts_.swap_full_wait_ns) {
    parts_.give_up(parts_.context, "swap is full");
  }
}

}  // namespace holdfast::run
