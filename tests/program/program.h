// A random program against the engine, on the simulated machine, compared with plain memory.
//
// What it shows: whatever the seed, every loaded byte is the one last stored; pinned pages stay
// where they are; blocks come zeroed and keep their content; nothing deadlocks; errors appear only
// where the machine was made to fail or the tiers are bounded; what is resident stays within the
// budget; check_all() holds whenever all is quiet; and nothing is left when the engine is gone.
//
// Flow: 1. ProgramShape::draw(seed); 2. Program(shape).run(); 3. failed() tells, report() says why.
// Threads do one random operation after the other (actor.h). An operation that destroys content
// claims its pages first; those that would meet a claim do something else instead. The simulated
// interrupt unpins, frees blocks, defers work and tries what is forbidden, at any moment.
#pragma once

#include <cstdarg>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "holdfast/holdfast.h"
#include "program/page_model.h"
#include "program/program_shape.h"
#include "sys/sim.h"

namespace holdfast::tests {

inline constexpr std::uint32_t kSlots = 4;    // regions at once
inline constexpr std::size_t kCopiesMax = 5;  // snapshots at once

// What the programs did in all: probes that the rare paths ran.
struct ProgramProbes {
  std::uint64_t programs = 0, operations = 0, loads = 0, stores = 0;
  std::uint64_t interrupts_inside = 0, unpins_in_interrupt = 0, frees_in_interrupt = 0;
  std::uint64_t refusals_in_interrupt = 0, deferred = 0;
  std::uint64_t fatal_accesses = 0, errors_excused = 0, creations_failed = 0;
  std::uint64_t faults_swap = 0, faults_rescued = 0, faults_same_filled = 0, faults_spurious = 0;
  std::uint64_t faults_waited = 0, runs = 0, runs_moved = 0;
  std::uint64_t evicted_clean = 0, evicted_written = 0, skipped_pinned = 0, orphans_freed = 0;
  std::uint64_t copies_made = 0, copies_read = 0, cow_copied = 0, cow_lifted = 0;
  std::uint64_t written_back = 0, hash_mismatches = 0, write_out_failed = 0, faults_again = 0;

  void add(const Stats& stats);
};

class Program {
 public:
  explicit Program(const ProgramShape& shape);
  ~Program();
  Program(const Program&) = delete;
  Program& operator=(const Program&) = delete;

  void run();
  [[nodiscard]] bool failed() const noexcept { return !failure_.empty(); }
  // What failed, the shape, the last operations and the machine's report. Allocates.
  [[nodiscard]] std::string report() const;
  [[nodiscard]] const ProgramProbes& probes() const noexcept { return probes_; }
  [[nodiscard]] sys::SimMachine& machine() noexcept { return machine_; }

 private:
  friend class Actor;

  struct Claim {
    std::uint64_t first, end;  // pages
    bool exclusive;
    std::uint32_t actor;
  };
  struct Slot {
    Region region;
    std::optional<PageModel> model;  // none: nothing is mapped here
    Address base = 0;
    std::uint64_t pages = 0;     // that may be used
    std::uint64_t capacity = 0;  // pages
    std::vector<Claim> claims;
    bool changing = false;  // being mapped, unmapped or resized
  };
  struct HeldPin {
    Pin pin;
    Address first = 0;
    std::vector<const std::byte*> views;  // where each page's bytes stand, and stay
  };
  struct HeldBlock {
    std::byte* pages = nullptr;
    unsigned order = 0;
    std::uint64_t tag = 0;
  };

  struct HeldCopy {
    explicit HeldCopy(PageModel content) : model(std::move(content)) {}
    Snapshot snapshot;
    PageModel model;
    std::uint32_t users = 0;  // actors who read it
  };

  void main_thread();
  bool create_engine();
  void run_phase(std::uint32_t operations);
  void finish();
  void verify_everything();
  void drop_holdings();
  void unmap_everything();
  void check_quiet(const char* when);
  void check_budget();
  void check_no_corruption();
  void check_nothing_left();
  void on_interrupt();
  void try_forbidden();

  // An error that reached the program: excused, or a failure of the test.
  void judge(const Error& error, const char* operation);
  [[nodiscard]] bool is_excused(Errc code);
  [[nodiscard]] std::uint64_t visible_failures();
  static OnError on_error(const Error& error, std::uintptr_t address, void* program) noexcept;

  // One page's part at most; compares or tells the model. False: the access was fatal.
  bool load_piece(Slot& slot, std::uint64_t offset, std::uint64_t size);
  bool store_piece(Slot& slot, std::uint64_t offset, const std::byte* from, std::uint64_t size);
  [[nodiscard]] std::string name_of(const Slot& slot, std::uint64_t offset) const;
  // An access to the page at `address` was fatal; `where` names the page.
  void judge_fatal_access(const char* kind, Address address, const std::string& where);

  // A page of a copy: by a load, or by read(). False: the access was fatal.
  bool load_copy(HeldCopy& copy, std::uint64_t page);
  bool read_copy(HeldCopy& copy, std::uint64_t first, std::uint64_t pages);
  void compare_copy(HeldCopy& copy, std::uint64_t page, const std::byte* bytes);
  void check_store_refused(HeldCopy& copy, std::uint64_t page);
  void release_copy(std::size_t index);

  void check_pin(const HeldPin& held);
  void check_block(const HeldBlock& held);
  void release_pin(std::size_t index);
  void release_block(std::size_t index);
  [[nodiscard]] std::uint64_t held_pages() const noexcept { return held_pages_; }

  [[gnu::format(printf, 2, 3)]] void fail_with(const char* format, ...);
  [[gnu::format(printf, 2, 3)]] void log(const char* format, ...);

  const ProgramShape shape_;
  sys::SimMachine machine_;
  sys::SimRandom random_;  // of the main thread and the interrupt
  std::unique_ptr<Engine> owned_engine_;
  Engine* engine_ = nullptr;  // null: not there for the interrupt
  std::array<Slot, kSlots> slots_;
  std::vector<HeldPin> pins_;
  std::vector<HeldBlock> blocks_;
  std::vector<std::unique_ptr<HeldCopy>> copies_;
  std::uint64_t held_pages_ = 0;
  std::uint64_t next_tag_ = 1;
  std::uint64_t deferred_ = 0, deferred_run_ = 0;
  std::map<Address, Error> told_;  // what on_error was told last, by page: threads fault at once
  int retries_ = 0;
  ProgramProbes probes_;
  std::string failure_;           // the first; empty: none
  std::vector<std::string> log_;  // the last operations, a ring
  std::uint64_t logged_ = 0;
};

}  // namespace holdfast::tests
