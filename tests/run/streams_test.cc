// Programs that go through what has left in order, or at random by several threads, with a file
// behind: what is loaded ahead of them, and what they wait for at the same time.
#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "run/support.h"
#include "support/temp_directory.h"

namespace holdfast::run::test {
namespace {

class Streams : public Run {
 protected:
  // Runs run_streams in 32 MiB: the report, or null.
  nlohmann::json report_of(const std::string& arguments, const std::string& tiers) {
    const std::string path = directory_.file("report.json");
    const auto result =
        held("32M", bin("run_streams") + " " + arguments, "--quiet --report " + path + tiers);
    EXPECT_EQ(result.status, 0) << result.output;
    EXPECT_EQ(result.output, "every byte was right\n");
    std::ifstream file(path);
    return nlohmann::json::parse(file, nullptr, false);
  }
  [[nodiscard]] std::string file_tier() const { return " --swap file:" + directory_.path(); }

 private:
  tests::TempDirectory directory_;
};

TEST_F(Streams, are_read_ahead_of_from_a_file) {
  const auto report = report_of("96 3 ordered 1", file_tier());
  ASSERT_TRUE(report.is_object());
  // Which thread is how fast is the machine's: that something came ahead of the program is not.
  EXPECT_GT(report["read_ahead_pages"], 0);
  EXPECT_GT(report["tiers"][0]["loads"], 0);
}

TEST_F(Streams, of_several_threads_are_read_ahead_of_from_memory) {
  const auto report = report_of("64 3 ordered 3", " --swap ram" + file_tier());
  ASSERT_TRUE(report.is_object());
  EXPECT_GT(report["read_ahead_pages"], 0);
}

TEST_F(Streams, threads_that_wait_for_a_device_at_the_same_time_get_their_own_bytes) {
  const auto report = report_of("96 1 random 4", file_tier());
  ASSERT_TRUE(report.is_object());
  EXPECT_GT(report["tiers"][0]["loads"], 0);
}

}  // namespace
}  // namespace holdfast::run::test
