// One address space that the pager serves: its faults, its events, and what has left it.
//
// A client is born when a shim says hello (a program was started) or when an event tells of a fork,
// and ends when the kernel says that the address space is gone. Its pager thread reads the
// userfaultfd, and alone does; the evictor's thread takes windows out and stores them.
//
// The order that everything rests on: the kernel lets no page enter or leave by this userfaultfd
// between the begin of an event (fork, mremap, munmap, madvise) and its being read. Events are
// therefore read under the lock only, with no command of the helper's under way, and what was
// entered or moved before is in the table by then. So an event applies to exactly what the table
// says.
//
// What a madvise throws away is still there when its event has been read. Such pages are doomed:
// they do not leave until they have been seen to be gone, or come anew.
//
// A program may take memory that nobody was asked for: of a mapping that no scan has seen yet, or
// by writing to what a fork had left shared. When that is more than there is room for, the program
// is held: all it has is write-protected, so that each of its threads stops at its next write,
// until enough has left. The same faults as ever, and no signal that somebody else could see.
#pragma once

#include <array>
#include <atomic>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <span>
#include <unordered_set>
#include <vector>

#include "run/budget.h"
#include "run/counters.h"
#include "run/entry_table.h"
#include "run/eviction_buffers.h"
#include "run/helper_link.h"
#include "run/process_files.h"
#include "run/registry.h"
#include "run/remote_memory.h"
#include "run/slot_loads.h"
#include "run/spinning_mutex.h"
#include "run/stream_table.h"
#include "run/working_sets.h"
#include "swap/swap.h"
#include "sys/sys.h"

namespace holdfast::run {

// What all clients share.
struct Parts {
  sys::Machine& machine;
  Budget& budget;
  swap::Swap& swap;
  EvictionBuffers& buffers;
  SlotLoads* far_loads;   // for faults that wait aside; null: they wait where they are served
  bool has_far_tier;      // one is beyond this machine: nobody waits for that where he is served
  SlotLoads* read_ahead;  // null: there is no room for it
  Counters& counters;
  Registry& registry;
  WorkingSets* working_sets;  // null: nothing is recorded or replayed
  // Ends all programs of the run at once, and says why: a page cannot be had.
  void (*give_up)(void* context, const char* why) noexcept;
  void* context;
  // Above so much compressed memory, an image is dropped when its page has come in: what it takes
  // is worth more than the compression that it might spare.
  std::uint64_t keep_images_below = 0;
  std::uint64_t swap_full_wait_ns = 0;  // how long programs are held when no tier takes a page
  std::atomic<bool> stuck{false};       // nothing could leave, the last time that was tried
};

class Client {
 public:
  enum class Life : std::uint8_t { running, gone };

  Client(Parts& parts, int userfault);
  ~Client();
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;

  // --- the registrar ---
  [[nodiscard]] RemoteMemory& memory() noexcept { return memory_; }
  // The process is known: its id, and its helper's connection, which passes to the client.
  int adopt(int pid, int connection, const Area& area);
  // It runs this program, as far as a recording has to know.
  void runs(const std::string& program) { working_set_.begin(parts_.working_sets, program); }
  // Starts the pager thread.
  Expected<void> start();

  // --- the balancer ---
  [[nodiscard]] Life life() const noexcept { return life_.load(std::memory_order_acquire); }
  [[nodiscard]] int pid() const noexcept { return pid_.load(std::memory_order_acquire); }
  // Registers what mappings there are by now; from then on they are managed.
  void manage_mappings();
  // Every thread of the program that writes to memory which it has waits, from now until release().
  void hold();
  void release();

  // --- whoever looks ---
  [[nodiscard]] std::uint64_t out_pages() const noexcept { return table_.out_pages(); }
  struct OutRun {
    std::uint64_t first_page;
    std::uint64_t pages;
    bool filled;  // of one repeated word: it takes no room
  };
  // What is out, in no order, and the ranges that are the shim's own. About 4 ns a page, under the
  // lock.
  void copy_out_runs(std::vector<OutRun>& runs, std::vector<Range>& own);

  // --- the evictor ---
  // Takes a window out into a free buffer. How many pages left; 0: none, or not yet (the buffer is
  // `leaving`). `tried` is false where there is no window to try.
  std::uint32_t take_window_out(EvictionBuffer& buffer, bool& tried);
  // What could not leave because a fork has left it shared is made this process's own.
  void unshare_busy();
  // Stores what is still in a buffer that the caller has claimed, and frees it. returned: some of
  // it could not be stored, and was put back. some_left: nor be put back; the buffer is not freed.
  enum class Stored : std::uint8_t { all, returned, some_left };
  Stored store_buffer(EvictionBuffer& buffer);
  [[nodiscard]] std::uint64_t windows_queued() const noexcept {
    return queued_.load(std::memory_order_relaxed);
  }
  [[nodiscard]] bool starved() const noexcept { return starved_.load(std::memory_order_relaxed); }
  // Faults may be waiting for room: look.
  void kick() noexcept;

 private:
  struct Fault {
    Address page;
    int thread;
    bool write;
    bool is_protected;       // it is there, and may not be written to
    std::uint64_t since_ns;  // 0: it has not had to wait
    // It waits for this one, or is served out of it.
    SlotLoads::Load* load = nullptr;
  };
  // far: when its load has arrived.
  enum class Served : std::uint8_t { done, again, far };
  // A page on its way in: where from, and how far it has come.
  struct Source {
    // none: it has come in, or gone, while others were waited for.
    enum class Has : std::uint8_t { content, failed, far, none };
    std::uint64_t page;
    Entry entry;
    std::uint32_t item = 0;    // of items_, while they are loaded
    bool from_memory = false;  // its image takes memory
    Has has = Has::content;
  };
  static constexpr std::uint32_t kRunMax = 64;
  static constexpr std::uint32_t kBatchMax = kRunMax + ReplayCursor::kAheadMax;

  // --- client.cc: the pager thread ---
  static void main(void* self);
  void run();
  [[nodiscard]] bool waits_for_us() const noexcept;
  void tell_stall() noexcept;
  void look_after_life(bool helper_gone);
  void clear_all();

  // --- client_events.cc ---
  void drain() noexcept;
  void note(const uffd_msg& message);
  void apply(const uffd_msg& message);
  void on_remap(Range from, Address to);
  void on_remove(Range range);
  void on_unmap(Range range);
  void forget(std::uint64_t page, Entry& entry, Entry instead);
  void drop_slot(SlotIndex slot) noexcept;
  using Known = std::pair<std::uint64_t, Entry>;  // a page, and what is known of it
  std::vector<Known> take_entries(Range range);
  std::vector<Known> take_displaced(Range range, std::span<const Range> but);
  void displace(Range range);
  void forget_range(Range range);
  // Events may still be to come that happened before what has been read.
  [[nodiscard]] bool is_unsettled() const noexcept {
    return !arrivals_.empty() || !departures_.empty() || forgetful_ || !heirs_.empty();
  }
  bool try_settle();
  void settle();

  // --- client_forks.cc ---
  struct Departure;
  void on_fork(int userfault);
  [[nodiscard]] bool another_may_fork() const;
  void remember(Range from, Range to);
  void settle_departures();
  [[nodiscard]] bool has_out(Range range);
  [[nodiscard]] bool came_after_fork(const Departure& departure, std::span<const Range> arrivals,
                                     const Client& child) const;
  void undo_departures(Client& child);
  void inherit_move(Range from, Range to);
  bool store_buffered(Range range);
  void copy_state_to(Client& child);
  bool settle_inheritance();

  // --- client_faults.cc ---
  void serve_pending();
  [[nodiscard]] std::uint32_t wanted_by(const Fault& fault) noexcept;
  void follow(int thread);
  Served serve(Fault& fault, std::uint32_t& room);
  Served bring_fresh(const Fault& fault, std::uint32_t& room);
  Served bring_content(Fault& fault, std::uint32_t& room);
  [[nodiscard]] std::uint64_t run_end(std::uint64_t page) const noexcept;
  std::uint32_t gather(std::uint64_t page, std::uint32_t most);
  std::uint32_t gather_ahead(const Fault& fault, std::uint32_t count, std::uint32_t& room);
  [[nodiscard]] bool load_gathered(std::uint32_t count, bool waits);
  void note_thread(const Fault& fault) noexcept;
  [[nodiscard]] int woken_here(const Fault& fault) const noexcept;
  [[nodiscard]] bool waits_aside(const Fault& fault) const noexcept;
  std::uint32_t stage_gathered(std::uint32_t count);
  std::uint32_t take_loaded(std::uint32_t count);
  [[nodiscard]] bool is_still_out(const Source& source) const noexcept;
  Entered enter_gathered(std::uint32_t first, std::uint32_t count, int thread);
  std::uint32_t enter_ahead(std::uint32_t first, std::uint32_t end);
  void entered(std::uint64_t page, bool image_takes_memory);
  Served settle_fault(const Fault& fault, int error);
  void fail(const char* why) noexcept { parts_.give_up(parts_.context, why); }

  // --- client_far.cc ---
  void take_arrived();
  Served wait_for_far(Fault& fault, std::uint32_t count, std::uint32_t total);
  [[nodiscard]] SlotLoads::Load* on_its_way(Entry entry) const noexcept;
  [[nodiscard]] SlotLoads::Load* begin_load(std::uint32_t count, std::uint32_t total);
  void leave_load(Fault& fault);
  [[nodiscard]] const swap::LoadItem* arrived(SlotIndex slot) const noexcept;
  std::uint32_t gather_arrived(const SlotLoads::Load& load, std::uint32_t count,
                               std::uint32_t& room);

  // --- client_ahead.cc ---
  void read_ahead(std::uint64_t page);
  bool begin_ahead(std::uint64_t page, std::uint32_t count);
  void end_ahead(std::uint64_t first, std::uint64_t next);
  template <typename Condition>
  void end_ahead_if(Condition is_over);
  void end_stale_ahead();
  [[nodiscard]] bool reads_ahead() const noexcept { return ahead_ != 0; }

  // --- client_mappings.cc ---
  void look_at_mappings();
  void manage(const ManageableMapping& mapping);
  void manage_part(Range part);
  void queue_present(Range range);
  void queue_opened(std::span<const Range> before);
  [[nodiscard]] bool is_managed(Range range) const;
  // Where the mapping at `at` ended when that was last looked at; far away: none is known.
  [[nodiscard]] Address mapping_end(Address at) const noexcept;
  [[nodiscard]] bool is_registered(Range range) const;
  [[nodiscard]] bool left_it_mapped(Range range) const;
  [[nodiscard]] std::vector<Range> without_arrivals(Range range, bool moved) const;
  void forget_arrivals(std::span<const Range> left);
  void add_range(Range range);
  void remove_range(Range range);

  // --- client_hold.cc ---
  bool protect_all(bool on);
  [[nodiscard]] std::vector<Range> protectable(bool on) const;
  void serve_writes();
  bool serve_write(const Fault& fault);

  // --- client_eviction.cc ---
  void queue_window(std::uint64_t window);
  void queue_range(Range range);
  bool choose_window(std::uint64_t& window);
  void mark_fixed(Range window, std::span<bool, kWindowPages> stays) const;
  void find_leaving(std::uint64_t window, bool holes, std::vector<Range>& runs);
  bool prepare_command(std::uint64_t window, Command& command);
  bool unshares(std::uint64_t window, std::uint32_t busy);
  std::uint32_t finish_command(int timeout_ms);
  std::uint32_t collect(EvictionBuffer& buffer, std::uint64_t window, const Answer& answer);

  // --- client_store.cc ---
  struct Batch;
  bool pick(EvictionBuffer& buffer, std::uint32_t& next, Batch& batch);
  void store(Batch& batch);
  Stored commit(EvictionBuffer& buffer, Batch& batch);
  bool put_back(EvictionBuffer& buffer, std::uint32_t place);

  // What was moved (or unmapped: to nothing), and what was out of it, with a count of each slot.
  struct Departure {
    Range from;
    Range to;
    std::vector<Known> known;
  };
  struct Busy {
    std::uint64_t window;
    std::array<std::uint64_t, kMaskWords> pages;
  };

  Parts& parts_;
  RemoteMemory memory_;
  std::atomic<int> pid_{0};
  std::atomic<Life> life_{Life::running};
  int kick_fd_;
  std::unique_ptr<sys::Thread> thread_;
  std::atomic<bool> starved_{false};          // faults wait for room
  std::atomic<bool> held_{false};             // see hold()
  std::atomic<bool> still_protected_{false};  // not held any more, but parts of it are protected
  std::atomic<bool> waits_for_parent_{
      false};                           // it may still learn of what happened before the fork
  std::atomic<bool> unsharing_{false};  // the helper itself may fault: its faults do not wait
  std::atomic<int> helper_thread_{0};
  std::atomic<std::uint64_t> queued_{0};

  SpinningMutex mutex_;  // guards all that follows
  HelperLink helper_;
  EntryTable table_;
  std::map<Address, Address> ranges_;  // registered: start to end, no two touch
  // Where mappings ended when that was last looked at, in order. A mapping that grows is one more
  // for the kernel each time, for what was touched before it is registered does not merge; and no
  // call enters or moves pages across such a border.
  std::vector<Address> borders_;
  std::vector<Range> barred_;  // mappings that no page could leave when that was last looked at
  std::deque<std::uint64_t> windows_;  // that may have something in memory, oldest first
  std::unordered_set<std::uint64_t> in_queue_;
  std::unordered_set<std::uint64_t> exact_;  // windows of more than one mapping: no holes
  std::vector<Range> protected_;             // the shim's area
  Address beacon_ = 0;                       // its page that is touched to be heard
  std::vector<Range> arrivals_;              // what was moved there, while other events are to come
  std::vector<Known> displaced_;             // what was known of those places
  std::vector<Departure> departures_;        // what has left its place, likewise
  bool forgetful_ = false;            // swap was full: not all that has left is in departures_
  std::vector<Registry::Use> heirs_;  // forked meanwhile
  bool managing_ = false;             // its mappings have been looked at
  bool inherits_ = false;  // the table is its parent's; what of that is its own, nobody has seen
  bool lost_ = false;      // forked when swap was full: not served, for it is being ended
  std::set<std::uint64_t> stack_tops_;  // pages: a new thread's own may be there
  WorkingSet working_set_;
  Range main_stack_;                   // as far as it can be write-protected
  bool holds_all_ = false;             // all of it was write-protected
  bool shares_pages_ = false;          // there has been a fork: pages may be another's too
  std::atomic<bool> closing_{false};   // its helper has gone: it ends, or becomes another program
  EvictionBuffer* leaving_ = nullptr;  // what the helper moves now goes there
  std::optional<Busy> busy_;
  static constexpr std::uint64_t kNoWindow = ~std::uint64_t{0};
  std::uint64_t unshared_ = kNoWindow;  // the window that was put in front for that
  std::uint32_t unshared_busy_ = 0;     // its pages that were shared then

  // The pager thread's own.
  std::deque<Fault> pending_;
  std::deque<Fault> writes_;             // to protected pages
  std::vector<Fault> far_faults_;        // whose loads have not arrived
  std::vector<SlotLoads::Load*> loads_;  // lent: see SlotLoads
  std::uint32_t ahead_ = 0;              // how many of them were begun ahead of a fault
  Error why_failed_;                     // the page that was wanted, when it could not be had
  bool stalled_ = false;                 // as the stall clock was told
  bool is_first_ = false;                // no program runs before it on its CPU
  int last_thread_ = 0;                  // whose fault was the last
  std::uint32_t mixed_ = 0;              // faults to come for which threads count as several
  StreamTable streams_;
  int helper_cpu_ = -1;
  sys::CpuFollower follower_{sys::CpuFollower::Whose::any_process};
  std::byte* staging_ = nullptr;  // kBatchMax pages
  std::array<Source, kBatchMax> sources_;
  std::array<swap::LoadItem, kBatchMax> items_;
};

}  // namespace holdfast::run
