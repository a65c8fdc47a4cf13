// Runs the examples small: each checks its own result, and says so by its exit status.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "support/run_program.h"
#include "support/temp_directory.h"

namespace holdfast {
namespace {

using tests::run_program;

// A folder of text that is the same on every machine.
class IndexExample : public testing::Test {
 protected:
  IndexExample() {
    std::filesystem::create_directories(folder_);
    for (int i = 0; i < 200; ++i) {
      std::ofstream file(folder_ + "/" + std::to_string(i) + ".txt");
      for (int word = 0; word < 500; ++word) file << "word" << (i * 31 + word * word) % 5000 << ' ';
      if (i == 42) file << "needle needle needle";
    }
  }
  ~IndexExample() override { std::filesystem::remove_all(folder_); }

  const std::string folder_ = testing::TempDir() + "holdfast-index-" + std::to_string(::getpid());
};

TEST_F(IndexExample, the_index_beyond_its_budget_is_identical_and_stays_within_it) {
  const auto result =
      run_program("index", "--memory 8M --query needle --input '" + folder_ + "' --copies auto");
  EXPECT_EQ(result.status, 0) << result.output;
  EXPECT_NE(result.output.find("\nidentical\n"), std::string::npos) << result.output;
  EXPECT_NE(result.output.find(": ok\n"), std::string::npos) << result.output;
  EXPECT_NE(result.output.find("/42.txt\n"), std::string::npos) << result.output;
  EXPECT_EQ(result.output.find("summary: 0 faults"), std::string::npos) << result.output;
  EXPECT_EQ(result.output.find(" 0 evictions"), std::string::npos) << result.output;
}

TEST_F(IndexExample, copies_are_counted) {
  const auto result = run_program("index", "--memory 16M --input '" + folder_ + "' --copies 3");
  EXPECT_EQ(result.status, 0) << result.output;
  EXPECT_NE(result.output.find("600 documents"), std::string::npos) << result.output;
}

TEST(Examples, an_index_of_nothing_says_what_to_do) {
  const auto result = run_program("index", "--input /nonexistent");
  EXPECT_EQ(result.status, 1);
  EXPECT_NE(result.output.find("--input DIR"), std::string::npos) << result.output;
}

TEST(Examples, a_budget_too_small_is_refused_with_the_least) {
  const auto result = run_program("sort", "--memory 1M");
  EXPECT_EQ(result.status, 1) << result.output;
  EXPECT_NE(result.output.find("memory_budget"), std::string::npos) << result.output;
}

TEST(Examples, wrong_usage_exits_with_2) {
  EXPECT_EQ(run_program("index", "--memory lots").status, 2);
  EXPECT_EQ(run_program("index", "--copies -1").status, 2);
  EXPECT_EQ(run_program("sort", "--times 0").status, 2);
  EXPECT_EQ(run_program("matrix", "--size 1000").status, 2);
}

TEST(Examples, a_file_of_four_budgets_is_sorted_in_place_by_several_threads) {
  const tests::TempDirectory directory;
  const std::string path = directory.file("numbers");
  const auto result = run_program("sort_file", path + " --memory 8M --threads 3 --make 32M");
  EXPECT_EQ(result.status, 0) << result.output;
  EXPECT_NE(result.output.find("sorted, checksum ok"), std::string::npos) << result.output;
  std::ifstream file(path, std::ios::binary);
  std::vector<std::uint64_t> numbers((32 << 20) / sizeof(std::uint64_t));
  file.read(reinterpret_cast<char*>(numbers.data()), 32 << 20);
  EXPECT_EQ(file.gcount(), 32 << 20);
  EXPECT_TRUE(std::is_sorted(numbers.begin(), numbers.end())) << "in the file";
  EXPECT_EQ(run_program("sort_file", directory.file("none")).status, 1);
}

TEST(Examples, rows_of_a_file_of_four_budgets_are_found_by_loads_and_by_coroutines) {
  const tests::TempDirectory directory;
  const auto result = run_program(
      "lookups", directory.file("rows") + " --memory 8M --make 32M --count 2000 --at-once 40");
  EXPECT_EQ(result.status, 0) << result.output;
  EXPECT_EQ(result.output.find("WRONG"), std::string::npos) << result.output;
  EXPECT_NE(result.output.find("by coroutines: 2000 lookups"), std::string::npos) << result.output;
  EXPECT_EQ(run_program("lookups", directory.file("none")).status, 1);
}

TEST(Examples, sort_sorts_four_budgets) {
  const auto result = run_program("sort", "--memory 8M --times 4");
  EXPECT_EQ(result.status, 0) << result.output;
  EXPECT_NE(result.output.find("sorted, checksum ok\n"), std::string::npos) << result.output;
}

TEST(Examples, matrix_transposes_and_saves) {
  const auto result = run_program("matrix", "--memory 16M --size 1536");
  EXPECT_EQ(result.status, 0) << result.output;
  EXPECT_NE(result.output.find("transposed: 0 wrong cells of 2359296"), std::string::npos)
      << result.output;
}

TEST(Examples, copy_copies_four_budgets_byte_for_byte) {
  const std::string from = testing::TempDir() + "holdfast-copy-" + std::to_string(::getpid());
  const std::string to = from + ".copy";
  {
    std::ofstream file(from, std::ios::binary);
    std::uint64_t word = 1;
    for (int i = 0; i < (32 << 20) / 8 + 5; ++i) {
      word = word * 6364136223846793005U + 1442695040888963407U;
      const std::uint64_t part = word >> 40;  // compresses a little
      file.write(reinterpret_cast<const char*>(&part), sizeof part);
    }
  }
  const auto result = run_program("copy", from + " " + to + " --memory 8M");
  EXPECT_EQ(result.status, 0) << result.output;
  EXPECT_NE(result.output.find("copied 33554472 bytes"), std::string::npos) << result.output;
  EXPECT_EQ(result.output.find(" 0 pages evicted"), std::string::npos) << result.output;
  std::ifstream left(from, std::ios::binary), right(to, std::ios::binary);
  EXPECT_TRUE(std::equal(std::istreambuf_iterator<char>(left), std::istreambuf_iterator<char>(),
                         std::istreambuf_iterator<char>(right), std::istreambuf_iterator<char>()));
  std::filesystem::remove(from);
  std::filesystem::remove(to);
}

TEST(Examples, copy_says_what_it_cannot_open) {
  const auto result = run_program("copy", "/no/such/file /tmp/x");
  EXPECT_EQ(result.status, 1);
  EXPECT_NE(result.output.find("/no/such/file"), std::string::npos) << result.output;
  EXPECT_EQ(run_program("copy", "").status, 2);
}

}  // namespace
}  // namespace holdfast
