// What the children of forks do not inherit, or not all of it.
#include <gtest/gtest.h>

#include "run/support.h"

namespace holdfast::run::test {
namespace {

class Heirs : public Run {
 protected:
  static void check(const char* how) {
    const auto result = held("24M", bin("run_heirs") + " 64 5 " + how);
    EXPECT_EQ(result.status, 0) << result.output;
  }
};

TEST_F(Heirs, of_a_parent_that_is_killed_as_they_are_born_have_what_they_should) {
  check("killed");
}
TEST_F(Heirs, of_a_parent_that_changes_what_they_inherit_have_what_there_was_at_the_fork) {
  check("changing");
}

}  // namespace
}  // namespace holdfast::run::test
