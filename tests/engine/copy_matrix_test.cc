// The semantics of copy on write as one table: every state in which a page can be when it is
// copied, every kind of copy, everybody who writes afterwards, and every place where a pin is let
// go of. After Linux' tools/testing/selftests/mm/cow.c, with io_uring and O_DIRECT as the pins.
//
// What each cell sees: tests/engine/copy_cell.h. The rules by which the axes meet:
//   - A page that is pinned when it is copied is unpinned afterwards: there Unpin::none means
//     nothing and is left out.
//   - A page that is not is not pinned at all (Unpin::none), or is pinned in parent and child after
//     the copy, which must make it the parent's own first, and is then unpinned.
//   - A child that is a snapshot cannot write: its store is refused, and so is a pin for writing.
//   - Pages pinned for reading are read by a device, all others are written to by one. Where they
//     are unpinned in a completion, it is by a transfer from a stream which gives nothing until
//     copy and stores are done; its own pin is then the only one of the parent's page.
// 456 cells, each on the real machine and on the simulated one.
#include <gtest/gtest.h>

#include <tuple>

#include "engine/copy_cell.h"
#include "engine/real_engine.h"
#include "support/seed.h"

namespace holdfast::engine::test {
namespace {

constexpr StateRule kStates[] = {
    // state, name, mapped, pinned, has_bytes
    {PageIs::exclusive, "exclusive", true, false, true},
    {PageIs::shared, "shared", true, false, true},
    {PageIs::cached_clean, "cached_clean", false, false, true},
    {PageIs::cached_dirty, "cached_dirty", false, false, true},
    {PageIs::under_write_out, "under_write_out", false, false, true},
    {PageIs::swapped, "swapped", false, false, true},
    {PageIs::pinned_read_only, "pinned_read_only", true, true, true},
    {PageIs::pinned_read_write, "pinned_read_write", true, true, true},
    {PageIs::same_filled, "same_filled", false, false, false},
    {PageIs::never_touched, "never_touched", false, false, false},
};
constexpr const char* kWrites[] = {"neither writes", "the parent writes", "the child writes",
                                   "both write"};
constexpr const char* kUnpins[] = {"nothing pinned", "unpinned in task context",
                                   "unpinned in a signal handler", "unpinned in a completion"};

enum class World : std::uint8_t { real, simulated };
void PrintTo(World world, std::ostream* out) {
  *out << (world == World::real ? "real" : "simulated");
}
using Row = std::tuple<World, StateRule, CopyIs>;

std::string name_of(const Row& row) {
  const auto& [where, rule, copy] = row;
  return std::string(where == World::real ? "real_" : "simulated_") + rule.name + "_" +
         kCopies[static_cast<std::size_t>(copy)];
}

class CopyMatrix : public testing::TestWithParam<Row> {
 protected:
  // All cells of the row.
  static void play_on(CopyWorld& world) {
    const auto& [where, rule, copy] = GetParam();
    CellPlayer player(world);
    for (const Writes writes : {Writes::neither, Writes::parent, Writes::child, Writes::both}) {
      for (const Unpin unpin :
           {Unpin::none, Unpin::in_task, Unpin::in_signal_handler, Unpin::in_completion}) {
        if (rule.pinned && unpin == Unpin::none) continue;
        SCOPED_TRACE(std::string(kWrites[static_cast<std::size_t>(writes)]) + ", " +
                     kUnpins[static_cast<std::size_t>(unpin)]);
        player.play({.rule = rule, .copy = copy, .writes = writes, .unpin = unpin});
        if (HasFailure()) return;
      }
    }
  }
};

TEST_P(CopyMatrix, everybody_has_his_bytes_and_no_copy_is_made_in_vain) {
  if (std::get<World>(GetParam()) == World::real) {
    const auto world = make_real_world();
    return world->play([&] { play_on(*world); });
  }
  if (kUnderTsan) GTEST_SKIP() << "ThreadSanitizer cannot follow the simulated machine";
  const std::uint64_t first = tests::test_seed();
  for (std::uint64_t i = 0; i < tests::seed_count(40) && !HasFailure(); ++i) {
    HF_SEED_TRACE(first + i);
    const auto world = make_simulated_world(first + i);
    world->play([&] { play_on(*world); });
  }
}

INSTANTIATE_TEST_SUITE_P(
    Cells, CopyMatrix,
    testing::Combine(testing::Values(World::real, World::simulated), testing::ValuesIn(kStates),
                     testing::Values(CopyIs::clone, CopyIs::snapshot, CopyIs::clone_of_clone)),
    [](const auto& row) { return name_of(row.param); });

}  // namespace
}  // namespace holdfast::engine::test
