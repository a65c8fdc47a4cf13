#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "sys/real_fixture.h"

namespace holdfast::sys::test {
namespace {

// Runs the function in a child and gives its wait status.
template <class Function>
int in_child(Function function) {
  const pid_t child = fork();
  if (child == 0) {
    function();
    _exit(0);
  }
  int status = -1;
  EXPECT_EQ(waitpid(child, &status, 0), child);
  return status;
}

// Empty where a child finds the places of regions closed.
std::string places_may_be_taken() {
#if defined(__SANITIZE_THREAD__)
  return "ThreadSanitizer's fork handler runs before ours and maps a stack into a region's place";
#else
  return "";
#endif
}

TEST(ForkDeathTest, a_child_that_touches_a_region_ends_with_a_message) {
  if (const std::string reason = places_may_be_taken(); !reason.empty()) GTEST_SKIP() << reason;
  const ServedRegion r(Delivery::signal);
  r.region.word(0) = 5;
  EXPECT_EXIT(r.region.word(0) = 6, testing::KilledBySignal(SIGSEGV),
              "belongs to a region of the parent process; regions are not inherited by fork");
  EXPECT_EQ(r.region.word(0), 5u);
}

TEST(ForkDeathTest, nothing_that_a_child_maps_comes_to_stand_where_a_region_was) {
  if (const std::string reason = places_may_be_taken(); !reason.empty()) GTEST_SKIP() << reason;
  const ServedRegion r(Delivery::signal);
  EXPECT_EXIT(
      {
        for (int i = 0; i < 64; ++i) {
          mmap(nullptr, kWindow, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        }
        r.region.word(0) = 6;
      },
      testing::KilledBySignal(SIGSEGV), "belongs to a region of the parent process");
}

TEST(ForkDeathTest, any_other_segv_of_a_child_goes_where_it_would_have_gone) {
  const ServedRegion r(Delivery::signal);
  void* const forbidden = mmap(nullptr, kPageSize, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  ASSERT_NE(forbidden, MAP_FAILED);
  struct sigaction action{};
  struct sigaction old{};
  action.sa_handler = [](int) { _exit(42); };
  sigaction(SIGSEGV, &action, &old);
  EXPECT_EXIT(*static_cast<volatile char*>(forbidden) = 1, testing::ExitedWithCode(42), "");
  sigaction(SIGSEGV, &old, nullptr);
  munmap(forbidden, kPageSize);
}

TEST(Fork, a_child_that_leaves_regions_alone_is_not_disturbed) {
  const ServedRegion r(Delivery::signal);
  const int status = in_child([] {});
  EXPECT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 0);
}

TEST(Fork, the_parents_segv_handler_is_untouched) {
  const ServedRegion r(Delivery::signal);
  struct sigaction before{};
  struct sigaction after{};
  sigaction(SIGSEGV, nullptr, &before);
  in_child([] {});
  sigaction(SIGSEGV, nullptr, &after);
  EXPECT_EQ(before.sa_sigaction, after.sa_sigaction);
}

TEST(Fork, pages_can_still_be_moved_after_it) {
  if (!probe_capabilities().has_move) GTEST_SKIP() << "this kernel has no UFFDIO_MOVE";
  const ServedRegion r(Delivery::signal);
  const Reserved pool(kWindow, Purpose::pool);
  pool.word(0) = 123;
  in_child([] {});
  const Transfer did = r.source->move(r.region.address(1), pool.address(0), kPageSize);
  EXPECT_EQ(did.error, 0);
  EXPECT_EQ(r.region.word(1), 123u);
}

TEST(Fork, tables_are_inherited) {
  const Reserved table(kPageSize, Purpose::table);
  table.word(0) = 9;
  const int status = in_child([&] { _exit(table.word(0) == 9 ? 7 : 8); });
  EXPECT_EQ(WEXITSTATUS(status), 7);
}

}  // namespace
}  // namespace holdfast::sys::test
