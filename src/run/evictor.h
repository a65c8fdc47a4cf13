// The evictor: the thread that makes room. Takes windows out of the clients, oldest first, the
// largest client first; keeps them in the buffers for as long as there are free ones, so that what
// is touched again comes back for a copy; then stores them.
//
// Compressing is most of that work. While faults wait for room their CPUs have nothing to do; then
// other threads, one less than there are CPUs, store full buffers as well.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <vector>

#include "run/client.h"
#include "run/registry.h"
#include "sys/sys.h"

namespace holdfast::run {

class Evictor {
 public:
  Evictor(Parts& parts, Registry& registry) noexcept : parts_(parts), registry_(registry) {}
  ~Evictor() { stop(); }
  Evictor(const Evictor&) = delete;
  Evictor& operator=(const Evictor&) = delete;

  Expected<void> start();
  void stop();

 private:
  enum class Taken : std::uint8_t { pages, nothing };
  // A buffer that this thread stores, and whose pages they are.
  struct Claim {
    std::uint32_t index;
    Registry::Use owner;
  };
  static constexpr std::uint32_t kStorersMax = 4;
  static void main(void* self);
  static void storer_main(void* self);
  void run();
  void run_storer();
  void make_room();
  Taken take_out_one();
  Taken take_out_of(Registry::Use& client, EvictionBuffer& buffer);
  bool empty_oldest();
  EvictionBuffer* free_buffer();
  void look_at_buffers();
  [[nodiscard]] std::optional<Claim> claim_oldest();
  Client::Stored store(Claim claim);
  void kick_starved();
  void release_held();
  void swap_is_full();

  Parts& parts_;
  Registry& registry_;
  std::unique_ptr<sys::Thread> thread_;
  std::vector<std::unique_ptr<sys::Thread>> storers_;
  std::mutex queue_mutex_;
  std::deque<std::uint32_t> full_;     // oldest first; guarded by queue_mutex_
  std::vector<Registry::Use> owners_;  // by buffer: keeps its client alive; guarded by it too
  std::uint64_t full_since_ns_ = 0;    // no tier takes a page: since when; 0: one does
  bool told_full_ = false;
};

}  // namespace holdfast::run
