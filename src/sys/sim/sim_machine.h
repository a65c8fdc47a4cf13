// The simulated machine: memory, faults, files, threads, clock and failures from one seed.
//
// What it is for: the whole engine runs on it deterministically, a hundred thousand random programs
// in minutes, and a failing seed replays. It is stricter than the real machine: a page that has
// left is poisoned, a region's address cannot be followed, a wait in an interrupt is an abort, a
// deadlock is a report.
//
// Who owns what: the machine owns its threads' stacks and all simulated memory. Fault sources,
// files and threads belong to whoever made them and go before the machine.
//
// Typical flow of a test:
//     SimMachine machine(SimOptions::swarm(seed));
//     const RunOutcome outcome = machine.run([&] {
//       auto engine = engine::create_on(machine, options);      // in a simulated thread
//       auto region = (*engine)->map_anonymous(1 << 20);
//       SimThreadState& other = machine.spawn("other", [&] { ... });
//       EXPECT_TRUE(machine.store(address, bytes, size));       // a plain store of the program
//       machine.join(other);
//     });                                                       // run() waits for all threads
//     EXPECT_EQ(outcome, RunOutcome::finished) << machine.report();
//
// Where threads switch: sim_scheduler.h. Context: everything is for simulated threads, and for the
// OS thread that owns the machine while none of them runs (then nothing switches).
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "sys/machine.h"
#include "sys/sim/sim_core.h"

namespace holdfast::sys {

class SimMachine final : public Machine {
 public:
  explicit SimMachine(const SimOptions& options);
  ~SimMachine() override;
  SimMachine(const SimMachine&) = delete;
  SimMachine& operator=(const SimMachine&) = delete;

  // --- running ---
  // Runs `main` as a simulated thread, and all threads that it starts, until they have finished.
  RunOutcome run(std::function<void()> main);
  // Starts a thread of the program under test; the interrupt handler may run on it.
  SimThreadState& spawn(const char* name, std::function<void()> function);
  void join(SimThreadState& thread) noexcept { core_->scheduler.join(thread); }
  // A scheduling point of the program's own.
  void yield() noexcept { core_->scheduler.point(); }
  void sleep_ns(std::uint64_t ns) noexcept { core_->scheduler.sleep_ns(ns); }
  // Lets time pass until all other threads rest: before a check that wants nothing in flight.
  [[nodiscard]] bool settle() noexcept { return core_->scheduler.settle(); }
  // Plays an asynchronous signal: runs on program threads at scheduling points, by
  // SimOptions::interrupt_per_1024, also while they are inside the engine; never inside itself, in
  // a fault handler, or on the engine's own threads. It must not wait.
  void set_interrupt_handler(std::function<void()> handler) {
    core_->scheduler.set_interrupt_handler(std::move(handler));
  }

  // --- plain loads and stores of the program ---
  // Any place and size inside reserved region memory. Page by page, each page's part atomic; a
  // missing page faults to its source's sink, as often as needed. False: the sink said that the
  // access cannot be served (or is not its own), where the real program would end with SIGBUS;
  // pages before that one are done.
  [[nodiscard]] bool load(Address from, void* to, std::size_t size) noexcept;
  [[nodiscard]] bool store(Address to, const void* from, std::size_t size) noexcept;

  // --- descriptors for asynchronous transfers ---
  // A file of that content; a stream that gives what it is fed, in order, until it ends.
  [[nodiscard]] int open_device_file(std::span<const std::byte> content);
  [[nodiscard]] int open_device_stream();
  void feed(int stream, std::span<const std::byte> bytes);
  void end_stream(int stream);
  [[nodiscard]] std::vector<std::byte> device_bytes(int fd) const;

  // --- files with names, and what crashes make of them ---
  [[nodiscard]] SimDisk& disk() noexcept { return core_->disk; }

  // --- the store of objects that is beyond this machine ---
  // From now on what is asked of it stands still, reads or writes (removals too), until it is let
  // go on; nothing times out.
  void stall_object_reads(bool stall) noexcept { core_->object_reads_stall = stall; }
  void stall_object_writes(bool stall) noexcept { core_->object_writes_stall = stall; }

  // --- failures and probes ---
  [[nodiscard]] Failures& failures() noexcept { return core_->failures; }
  [[nodiscard]] const SimStats& sim_stats() const noexcept { return core_->stats; }
  [[nodiscard]] const SimOptions& options() const noexcept { return core_->options; }
  // A hash of everything that has happened, in order.
  [[nodiscard]] std::uint64_t trace_hash() const noexcept { return core_->trace.hash(); }
  // Why run() did not finish, then the last events and printed lines. Allocates.
  [[nodiscard]] std::string report() const;
  // Lines that print_line() was given.
  [[nodiscard]] const std::vector<std::string>& lines() const noexcept { return lines_; }
  [[nodiscard]] std::uint64_t peak_resident_bytes() const noexcept {
    return core_->memory.peak_bytes();
  }
  [[nodiscard]] std::uint64_t reserved_bytes(Purpose purpose) const noexcept {
    return core_->memory.reserved_bytes(purpose);
  }
  // True if a page stands at the address.
  [[nodiscard]] bool is_present(Address address) const noexcept {
    return core_->memory.find(address) != nullptr;
  }

  // --- Machine ---
  [[nodiscard]] Expected<Address> reserve(std::uint64_t bytes, std::uint64_t align,
                                          Purpose purpose) noexcept override;
  int release(Address address, std::uint64_t bytes) noexcept override;
  int discard(Address address, std::uint64_t bytes) noexcept override;
  void populate(Address, std::uint64_t) noexcept override {}  // memory comes as it is written to
  int remap_out(Address to, Address from, std::uint64_t bytes) noexcept override;
  [[nodiscard]] std::byte* view(Address address) noexcept override;
  [[nodiscard]] Expected<std::unique_ptr<FaultSource>> open_faults(
      const FaultSourceOptions& options, FaultSink& sink) override;
  [[nodiscard]] Expected<std::unique_ptr<SwapFile>> create_swap_file(
      const SwapFileOptions& options) override;
  [[nodiscard]] Expected<std::unique_ptr<DataFile>> open_data_file(
      const DataFileOptions& options) override {
    return core_->disk.open(*core_, options);
  }
  int remove_file(const std::string& path) override { return core_->disk.remove(path); }
  [[nodiscard]] Expected<std::unique_ptr<AsyncIo>> open_async_io(
      const AsyncIoOptions& options) override;
  [[nodiscard]] Expected<std::unique_ptr<ObjectStore>> open_object_store(
      const ObjectStoreOptions& options) override;
  [[nodiscard]] Expected<OpenedFarImage> open_far_image(const ObjectStoreOptions& options) override;
  [[nodiscard]] Expected<std::vector<FarImage>> list_far_images(
      const ObjectStoreOptions& options) override;
  [[nodiscard]] Expected<FarImage> remove_far_image(const ObjectStoreOptions& options) override;
  [[nodiscard]] Expected<std::unique_ptr<Thread>> start_thread(const char* name,
                                                               void (*function)(void*),
                                                               void* argument) override;
  [[nodiscard]] std::uint64_t now_ns() noexcept override { return core_->scheduler.now_ns(); }
  [[nodiscard]] std::uint32_t current_cpu() noexcept override {
    return core_->scheduler.current_cpu();
  }
  [[nodiscard]] std::uint32_t cpu_count() const noexcept override { return core_->options.cpus; }
  [[nodiscard]] std::uint64_t random_u64() noexcept override { return core_->random.next(); }
  [[nodiscard]] std::uint64_t memory_bytes() const noexcept override {
    return core_->options.memory_bytes;
  }
  // Pages of regions and pools that hold memory. Tables are host memory and not counted.
  [[nodiscard]] std::uint64_t resident_bytes() noexcept override {
    return core_->memory.resident_bytes();
  }
  void print_line(const char* line) noexcept override;

 private:
  enum class Piece : std::uint8_t { done, fatal };
  Piece access(Address address, void* host, std::size_t size, Access access) noexcept;
  [[nodiscard]] bool access_all(Address address, std::byte* host, std::size_t size,
                                Access access) noexcept;

  std::unique_ptr<SimCore> core_;
  std::vector<std::string> lines_;
  std::string run_report_;
};

}  // namespace holdfast::sys
