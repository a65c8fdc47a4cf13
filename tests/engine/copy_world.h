// Where the matrix of copies is played: the real machine and the simulated one, as a program on it
// sees them. Each has memory to load from and store to, files and streams that a device reads and
// writes, asynchronous signals, and a gate before its swap file.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>

#include "base/base.h"
#include "engine/gated_machine.h"
#include "sys/sim.h"

namespace holdfast::engine::test {

using PageBytes = std::array<std::byte, kPageSize>;

class CopyWorld {
 public:
  virtual ~CopyWorld() = default;
  // Plays the story on the machine, to its end.
  virtual void play(const std::function<void()>& story) = 0;
  [[nodiscard]] sys::Machine& machine() noexcept { return gated_; }
  [[nodiscard]] Gate& gate() noexcept { return gate_; }

  // --- what a program does ---
  virtual bool load(const std::byte* from, PageBytes& to) = 0;
  virtual bool store(std::byte* to, std::span<const std::byte> bytes) = 0;
  // True if a store there is refused, in a way that the program survives.
  virtual bool refuses_store(const std::byte* to) = 0;
  // Runs fn in an asynchronous signal handler of this thread.
  virtual void in_signal_handler(const std::function<void()>& fn) = 0;
  virtual void wait_until(const std::function<bool()>& true_now) = 0;
  // Until threads of the engine's own have come to rest.
  virtual void settle() {}

  // --- what a device does ---
  // A file that is read and written directly, with this content; read_file() reads it otherwise.
  virtual int make_file(std::span<const std::byte> content) = 0;
  virtual void read_file(int file, std::uint64_t offset, PageBytes& to) = 0;
  virtual int make_stream() = 0;
  virtual void feed(int stream, std::span<const std::byte> bytes) = 0;

 protected:
  CopyWorld(sys::Machine& below, std::function<void()> pause)
      : gate_(std::move(pause)), gated_(below, gate_) {}

 private:
  Gate gate_;
  GatedMachine gated_;
};

// The real machine: loads and stores are loads and stores, the device is io_uring with O_DIRECT.
[[nodiscard]] std::unique_ptr<CopyWorld> make_real_world();
// A simulated one: schedules, and when signals come, follow from the seed.
[[nodiscard]] std::unique_ptr<CopyWorld> make_simulated_world(std::uint64_t seed);

}  // namespace holdfast::engine::test
