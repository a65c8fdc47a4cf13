// One cell of the matrix of copies: a page in some state is copied, written to by some, unpinned
// somewhere, evicted and brought back; and what must have come of it.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <ostream>
#include <vector>

#include "engine/copy_world.h"
#include "engine/paging_engine.h"
#include "holdfast/aio.h"
#include "holdfast/holdfast.h"

namespace holdfast::engine::test {

enum class PageIs : std::uint8_t {
  exclusive,
  shared,  // with an earlier snapshot
  cached_clean,
  cached_dirty,
  under_write_out,
  swapped,
  pinned_read_only,
  pinned_read_write,
  same_filled,
  never_touched,
};
enum class CopyIs : std::uint8_t { clone, snapshot, clone_of_clone };
constexpr const char* kCopies[] = {"clone", "snapshot", "clone_of_clone"};
inline void PrintTo(CopyIs copy, std::ostream* out) {
  *out << kCopies[static_cast<std::size_t>(copy)];
}
enum class Writes : std::uint8_t { neither, parent, child, both };
// Where the pins are let go of; none: there are none.
enum class Unpin : std::uint8_t { none, in_task, in_signal_handler, in_completion };

// What the rules of copy on write say of a page's state.
struct StateRule {
  PageIs state;
  const char* name;
  bool mapped;     // a copy has to be made as soon as its owner writes
  bool pinned;     // a copy has to be made at once
  bool has_bytes;  // it takes a slot when it leaves
};
inline void PrintTo(const StateRule& rule, std::ostream* out) { *out << rule.name; }

struct Cell {
  StateRule rule;
  CopyIs copy = CopyIs::clone;
  Writes writes = Writes::neither;
  Unpin unpin = Unpin::none;

  [[nodiscard]] bool parent_writes() const {
    return writes == Writes::parent || writes == Writes::both;
  }
  [[nodiscard]] bool child_writes() const {
    return writes == Writes::child || writes == Writes::both;
  }
  // Parent and child are pinned after the copy, while they share the page.
  [[nodiscard]] bool pinned_late() const { return !rule.pinned && unpin != Unpin::none; }
  // A device writes to the parent's page while it is pinned.
  [[nodiscard]] bool device_writes() const {
    return pinned_late() || rule.state == PageIs::pinned_read_write;
  }
  // How many copies are made: at once for a pinned page, else when the parent needs a page that
  // others share for itself, to write to it or to pin it. A page that is not mapped is left to
  // those who share it, cached or swapped, and whoever needs it brings in his own. What the child
  // does never costs a copy.
  [[nodiscard]] std::uint64_t copies() const {
    if (rule.pinned) return 1;
    return rule.mapped && (parent_writes() || pinned_late()) ? 1 : 0;
  }
  // How many slots hold it when all is evicted: one for all who share it, and one for each who has
  // his own.
  [[nodiscard]] std::uint64_t slots() const {
    const bool parents_own = copies() != 0 || parent_writes() || device_writes();
    const bool childs_own = child_writes() && copy != CopyIs::snapshot;
    return (rule.has_bytes ? 1U : 0U) + (parents_own ? 1 : 0) + (childs_own ? 1 : 0);
  }
  // A child that was brought in before its version had an image may have an image of its own.
  [[nodiscard]] std::uint64_t slots_more() const {
    return pinned_late() && !child_writes() && copy != CopyIs::snapshot ? 1 : 0;
  }
};

// Plays cells on an engine of a world, one after the other.
class CellPlayer {
 public:
  explicit CellPlayer(CopyWorld& world);
  void play(const Cell& cell);

 private:
  // A transfer between a page and a device. Holds what is to be unpinned when it completes.
  struct Transfer {
    std::vector<Pin>* unpins = nullptr;
    std::atomic<bool> done{false};
    bool whole = false;
  };

  // steps
  void prepare();
  void verify_state();
  void make_copies();
  void pin_late();
  void write();
  void try_to_evict_pinned();
  void transfer_while_pinned();
  void let_go();
  void end_write_out();
  void evict_and_compare();
  void drop_all();

  // parts of them
  void make_cached();
  void begin_write_out();
  void pin_parent(Access access);
  void land_in_parent();
  void device_reads(const std::byte* page, const PageBytes& expected, std::vector<Pin>* unpins);
  void submit(const AioRequest& request, Transfer& transfer);
  void expect_bytes(const char* whose, const std::byte* page, const PageBytes& bytes);
  void compare_all();
  void evict_all();
  void expect_well();
  void expect_slots();
  [[nodiscard]] std::uint64_t copied() const;
  [[nodiscard]] space::AddressSpace& space() const;
  [[nodiscard]] space::RegionRecord& record() const;
  [[nodiscard]] page::Page* parent_page() const;
  [[nodiscard]] std::byte* in_parent() const;
  [[nodiscard]] const std::byte* in_child() const;

  CopyWorld& world_;
  std::unique_ptr<Engine> engine_;
  std::unique_ptr<Aio> aio_;
  int file_ = -1;

  // of the cell that is being played
  Cell cell_;
  Region parent_, middle_, child_;
  Snapshot elder_, still_;               // an earlier snapshot; the copy, if it is one
  PageBytes before_, parents_, childs_;  // what stands there: when it was copied, and by rights now
  std::vector<Pin> pins_;
  Transfer from_stream_;
  int stream_ = -1;
  std::unique_ptr<sys::Thread> writer_;  // writes the page out
  std::uint64_t copied_before_ = 0;
};

}  // namespace holdfast::engine::test
