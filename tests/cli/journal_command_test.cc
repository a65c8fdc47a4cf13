#include "cli/journal_command.h"

#include <gtest/gtest.h>

#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>

#include "support/run_program.h"
#include "support/temp_directory.h"
#include "sys/sys.h"

namespace holdfast::cli {
namespace {

using tests::run_program;

// A file of 20 pages, and the journal that a crash leaves after commits to it.
class JournalCommandTest : public testing::Test {
 protected:
  JournalCommandTest() { std::ofstream(path) << std::string(20 * kPageSize, '.'); }

  // Commits these pages, one commit after the other; the seal of the last one does not reach the
  // disk.
  void crash_after(const std::vector<std::vector<std::uint64_t>>& commits) {
    auto data = sys::real_machine()
                    .open_data_file({.path = path, .use = sys::FileUse::write, .cached = true})
                    .value();
    auto open = file::Journal::open(sys::real_machine(), journal, *data).value();
    for (std::size_t i = 0; i < commits.size(); ++i) {
      const std::string page(kPageSize, static_cast<char>('a' + i));
      const auto* const content = reinterpret_cast<const std::byte*>(page.data());
      std::vector<object::PageWrite> writes;
      for (const std::uint64_t index : commits[i]) {
        writes.push_back({.index = index, .content = content});
      }
      const std::vector<base::Hash128> hashes(writes.size(), base::hash_page(content));
      ASSERT_TRUE(open->append(writes, hashes, 20 * kPageSize));
      ASSERT_TRUE(open->seal());
    }
    std::fstream file(journal, std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(static_cast<std::streamoff>(open->bytes() - kPageSize));
    file << std::string(kPageSize, '\0');
  }
  void flip(std::uint64_t at) {
    std::fstream file(journal, std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(static_cast<std::streamoff>(at));
    file.put('!');
  }
  [[nodiscard]] tests::ProgramResult run(const std::string& arguments) const {
    return run_program("holdfast", "journal " + arguments);
  }
  [[nodiscard]] static bool says(const tests::ProgramResult& result, const std::string& what) {
    return result.output.find(what) != std::string::npos;
  }

  tests::TempDirectory directory;
  const std::string path = directory.file("ledger");
  const std::string journal = path + ".holdfast-journal";
};

TEST_F(JournalCommandTest, says_what_the_next_mapping_will_bring_to_the_file) {
  crash_after({{3, 4, 9}, {4}, {1, 2}});
  const auto report = read_journal(path).value();
  EXPECT_EQ(report.summary.commits, 2u);
  EXPECT_EQ(report.summary.torn_parts, 1u);
  ASSERT_EQ(report.commits.size(), 2u);
  EXPECT_EQ(report.commits[0].pages, (std::vector<std::uint64_t>{3, 4, 9}));
  EXPECT_EQ(report.commits[1].pages, std::vector<std::uint64_t>{4});
  for (const std::string& name : {path, journal}) {
    const auto result = run("--pages " + name);
    EXPECT_EQ(result.status, 0) << result.output;
    EXPECT_TRUE(says(result, "2 whole, of 4 pages")) << result.output;
    EXPECT_TRUE(says(result, "1 part of a commit that was never finished")) << result.output;
    EXPECT_TRUE(says(result, "commit 1 at 4096: pages 3 4 9\n")) << result.output;
    EXPECT_TRUE(says(result, "brings 2 commits to it\n")) << result.output;
  }
  const auto json = nlohmann::json::parse(run("--json " + path).output);
  EXPECT_EQ(json["usable"], true);
  EXPECT_EQ(json["unfinished_parts"], 1);
  EXPECT_EQ(json["commits"][1]["pages"], nlohmann::json::array({4}));
}

TEST_F(JournalCommandTest, says_so_where_there_is_none_or_nothing_in_it) {
  auto result = run(path);
  EXPECT_EQ(result.status, 0);
  EXPECT_TRUE(says(result, "there is none: the file holds its last commit")) << result.output;
  std::ofstream(journal).flush();
  result = run(path);
  EXPECT_EQ(result.status, 0);
  EXPECT_TRUE(says(result, "never begun")) << result.output;
  result = run(directory.file("nothing"));
  EXPECT_EQ(result.status, 1);
  EXPECT_TRUE(says(result, "not_found")) << result.output;
  EXPECT_EQ(run("").status, 2);
}

TEST_F(JournalCommandTest, tells_damage_from_what_a_crash_leaves) {
  crash_after({{1}, {2}, {3}, {4}});
  flip(2 * kPageSize + 100);  // a page of the first commit
  const auto result = run(path);
  EXPECT_EQ(result.status, 1);
  EXPECT_TRUE(says(result, "cannot be used: ")) << result.output;
  EXPECT_TRUE(says(result, "a commit is damaged, with others behind it")) << result.output;
  EXPECT_EQ(nlohmann::json::parse(run("--json " + path).output)["usable"], false);
  flip(8);  // its version, and so its checksum
  EXPECT_TRUE(says(run(path), "it is no journal, or damaged")) << run(path).output;
}

TEST_F(JournalCommandTest, knows_a_journal_of_another_file) {
  crash_after({{1}, {2}});
  std::ofstream(directory.file("copy")) << std::string(20 * kPageSize, '.');
  std::filesystem::rename(directory.file("copy"), path);
  auto result = run(path);
  EXPECT_EQ(result.status, 1);
  EXPECT_TRUE(says(result, "it belongs to another file")) << result.output;
  std::filesystem::remove(path);
  result = run(journal);
  EXPECT_EQ(result.status, 0) << "by itself it is whole";
  EXPECT_TRUE(says(result, "the file beside it is gone")) << result.output;
}

}  // namespace
}  // namespace holdfast::cli
