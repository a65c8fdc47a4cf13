// Every byte of a program that does anything to its memory, with a quarter of what it needs.
#include <gtest/gtest.h>

#include <cstdlib>
#include <random>

#include "run/support.h"
#include "support/temp_directory.h"

namespace holdfast::run::test {
namespace {

class Storm : public Run {
 protected:
  // HOLDFAST_SEED, or one by chance.
  static unsigned seed() {
    const char* const given = std::getenv("HOLDFAST_SEED");
    return given != nullptr ? static_cast<unsigned>(std::strtoul(given, nullptr, 10)) % 1000000
                            : std::random_device()() % 1000000;
  }
  static void check(const std::string& arguments, const std::string& flags = "--quiet") {
    const unsigned first = seed();
    for (unsigned i = 0; i < 3; ++i) {
      const std::string command =
          bin("run_storm") + " " + std::to_string(first + i) + " " + arguments;
      const auto result = held("32M", command, flags);
      EXPECT_EQ(result.status, 0) << "HOLDFAST_SEED=" << first + i << ": " << result.output;
      EXPECT_NE(result.output.find("every byte was right"), std::string::npos) << result.output;
    }
  }
};

TEST_F(Storm, every_byte_of_one_thread_is_right) { check("1 200 128"); }
TEST_F(Storm, every_byte_of_three_threads_is_right) { check("3 120 128"); }
TEST_F(Storm, every_byte_is_right_on_both_sides_of_forks) { check("1 120 128 forks"); }
TEST_F(Storm, every_byte_is_right_when_one_of_several_threads_forks) { check("2 80 128 forks"); }

TEST_F(Storm, every_byte_is_right_in_an_encrypted_swap_file) {
  const tests::TempDirectory directory;
  check("2 60 96", "--quiet --encrypt-swap --swap file:" + directory.path());
}

TEST_F(Storm, children_have_every_byte_that_other_threads_moved_as_they_were_born) {
  const auto result = held("24M", bin("run_movers") + " 48 3 12");
  EXPECT_EQ(result.status, 0) << result.output;
}

TEST_F(Storm, the_program_is_right_without_holdfast_too) {
  const auto result = tests::run_program("run_storm", std::to_string(seed()) + " 2 100 64 forks");
  EXPECT_EQ(result.status, 0) << result.output;
}

}  // namespace
}  // namespace holdfast::run::test
