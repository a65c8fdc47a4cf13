#include <gtest/gtest.h>

#include <sstream>

#include "holdfast/stats.h"

namespace holdfast {
namespace {

TEST(StatsText, every_line_has_a_label_column_of_one_width) {
  Stats stats;
  stats.tiers.push_back({.kind = "ram"});
  stats.tiers.push_back({.kind = "file"});
  std::istringstream lines(stats.to_string());
  std::string line;
  int count = 0;
  while (std::getline(lines, line)) {
    ASSERT_GT(line.size(), 15u);
    EXPECT_EQ(line[13], ' ') << line;
    EXPECT_NE(line[14], ' ') << line;
    ++count;
  }
  EXPECT_EQ(count, 13 + 2 * 3);
}

TEST(StatsText, the_numbers_that_matter_stand_in_it) {
  Stats stats;
  stats.budget_bytes = 64 << 20;
  stats.faults = 12345;
  stats.faults_rescued = 678;
  stats.tiers.push_back({.kind = "ram", .pages = 100, .image_bytes = 204800});
  const std::string text = stats.to_string();
  EXPECT_NE(text.find("budget 64.0 MiB"), std::string::npos) << text;
  EXPECT_NE(text.find("faults        12345:"), std::string::npos) << text;
  EXPECT_NE(text.find("678 rescued"), std::string::npos) << text;
  EXPECT_NE(text.find("tier 0 ram"), std::string::npos) << text;
  EXPECT_NE(text.find("ratio 2.00"), std::string::npos) << text;
}

}  // namespace
}  // namespace holdfast
