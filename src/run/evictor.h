// The evictor: the thread that makes room. Takes windows out of the clients, oldest first, the
// largest client first; keeps them in the buffers for as long as there are free ones, so that what
// is touched again comes back for a copy; then stores them.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
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
  static void main(void* self);
  void run();
  void make_room();
  Taken take_out_one();
  Taken take_out_of(Registry::Use& client, EvictionBuffer& buffer);
  bool empty_oldest();
  EvictionBuffer* free_buffer();
  void look_at_buffers();
  void kick_starved();
  void release_held();
  void swap_is_full();

  Parts& parts_;
  Registry& registry_;
  std::unique_ptr<sys::Thread> thread_;
  std::deque<std::uint32_t> full_;     // oldest first
  std::vector<Registry::Use> owners_;  // by buffer: keeps its client alive
  std::uint64_t full_since_ns_ = 0;    // no tier takes a page: since when; 0: one does
  bool told_full_ = false;
};

}  // namespace holdfast::run
