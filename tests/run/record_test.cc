// `holdfast run --record` and `--replay`: what a recording is, and what it does to a run.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <random>

#include "run/execution.h"
#include "run/program_file.h"
#include "run/recording.h"
#include "run/replay.h"
#include "run/run.h"
#include "run/support.h"
#include "run/working_sets.h"
#include "support/seed.h"
#include "support/temp_directory.h"

namespace holdfast::run::test {
namespace {

// --- the sequence ---

TEST(PageLog, what_went_in_comes_out_in_its_order) {
  PageLog log;
  std::vector<std::uint64_t> pages;
  std::mt19937_64 random(1);
  for (int i = 0; i < 3000; ++i) {
    const std::uint64_t first = random() >> (random() % 40 + 17);
    const auto count = static_cast<std::uint32_t>(1 + random() % 64);
    log.add(first, count);
    for (std::uint64_t page = first; page < first + count; ++page) pages.push_back(page);
  }
  EXPECT_EQ(log.pages(), pages.size());
  const auto decoded = PageLog::decode(log.bytes(), pages.size());
  ASSERT_TRUE(decoded);
  EXPECT_EQ(*decoded, pages);
  EXPECT_FALSE(PageLog::decode(log.bytes(), pages.size() - 1)) << "more than was said";
  EXPECT_FALSE(PageLog::decode(log.bytes(), pages.size() + 1)) << "less than was said";
}

TEST(PageLog, bytes_of_any_origin_are_pages_or_refused) {
  std::mt19937_64 random(2);
  for (int i = 0; i < 20'000; ++i) {
    std::vector<std::uint8_t> bytes(random() % 40);
    for (std::uint8_t& byte : bytes) byte = static_cast<std::uint8_t>(random());
    const std::uint64_t pages = random() % 100;
    const auto decoded = PageLog::decode(bytes, pages);
    if (decoded) {
      EXPECT_EQ(decoded->size(), pages);
    } else {
      EXPECT_LE(decoded.error(), bytes.size());
    }
  }
}

// --- the file's bytes ---

Bytes example() {
  WorkingSets sets(true, Recording());
  const SpaceName shell = sets.name_next("/bin/sh");
  const SpaceName second = sets.name_next("/bin/sh");
  sets.record(second, 0x7ffff7000, 64);
  sets.record(shell, 0x555555555, 1);
  sets.record(second, 0x7ffff0000, 3);
  return sets.recording_of("/home/user/script");
}

TEST(Recording, holds_each_address_space_by_its_program_and_its_number) {
  const auto recording = decode_recording(example());
  ASSERT_TRUE(recording) << recording.error();
  EXPECT_EQ(recording->program, "/home/user/script");
  ASSERT_EQ(recording->spaces.size(), 2U);
  EXPECT_EQ(recording->spaces[0].name, (SpaceName{.program = "/bin/sh", .ordinal = 0}));
  EXPECT_EQ(recording->spaces[0].pages, std::vector<std::uint64_t>{0x555555555});
  EXPECT_EQ(recording->spaces[1].name.ordinal, 1U);
  ASSERT_EQ(recording->spaces[1].pages.size(), 67U);
  EXPECT_EQ(recording->spaces[1].pages[64], 0x7ffff0000U);
}

TEST(Recording, cut_off_anywhere_it_is_refused) {
  const Bytes whole = example();
  for (std::size_t length = 0; length < whole.size(); ++length) {
    const auto decoded = decode_recording(std::span(whole).first(length));
    ASSERT_FALSE(decoded) << length;
    EXPECT_NE(decoded.error().find("byte "), std::string::npos) << decoded.error();
  }
  Bytes longer = whole;
  longer.push_back(0);
  EXPECT_FALSE(decode_recording(longer));
}

TEST(Recording, with_any_bit_changed_it_is_refused) {
  const Bytes whole = example();
  for (std::size_t i = 0; i < whole.size() * 8; ++i) {
    Bytes damaged = whole;
    damaged[i / 8] ^= static_cast<std::uint8_t>(1U << (i % 8));
    const auto decoded = decode_recording(damaged);
    ASSERT_FALSE(decoded) << "bit " << i;
    EXPECT_NE(decoded.error().find("byte "), std::string::npos) << decoded.error();
  }
}

TEST(WorkingSets, what_is_too_much_is_left_out_at_the_end) {
  WorkingSets sets(true, Recording());
  const SpaceName name = sets.name_next("/bin/sh");
  for (std::uint64_t page = 0; page < kRecordedPagesMax + 1000; page += 64) {
    sets.record(name, page, 64);
  }
  EXPECT_EQ(sets.recorded_pages(), kRecordedPagesMax);
  const auto recording = decode_recording(sets.recording_of("/bin/sh"));
  ASSERT_TRUE(recording) << recording.error();
  EXPECT_EQ(recording->spaces[0].pages.back(), kRecordedPagesMax - 1);
}

// --- following it ---

// All pages below `count`, in an order of their own, `rounds` times.
std::vector<std::uint64_t> shuffled(std::uint64_t count, int rounds) {
  std::vector<std::uint64_t> once(count);
  for (std::uint64_t i = 0; i < count; ++i) once[i] = i;
  std::mt19937_64 random(3);
  std::ranges::shuffle(once, random);
  std::vector<std::uint64_t> all;
  for (int i = 0; i < rounds; ++i) all.insert(all.end(), once.begin(), once.end());
  return all;
}

TEST(ReplayTrack, finds_the_next_place_of_a_page) {
  const ReplayTrack track({7, 9, 7, 8, 7});
  EXPECT_EQ(track.find(7, 0), 0U);
  EXPECT_EQ(track.find(7, 1), 2U);
  EXPECT_EQ(track.find(7, 3), 4U);
  EXPECT_EQ(track.find(7, 5), ReplayTrack::kNone);
  EXPECT_EQ(track.find(8, 0), 3U);
  EXPECT_EQ(track.find(10, 0), ReplayTrack::kNone);
}

// A program that misses what it missed: faults that are left, of so many pages from `from` on.
std::size_t faults_of(ReplayCursor& cursor, const ReplayTrack& track, std::size_t from,
                      std::size_t pages) {
  std::size_t faults = 0;
  for (std::size_t i = from; i < from + pages; ++i) {
    ++faults;
    std::uint32_t most = cursor.reached(track.page(static_cast<std::uint32_t>(i)));
    EXPECT_LE(most, ReplayCursor::kAheadMax);
    // Whatever it says comes next, does.
    while (most > 0 && cursor.next() == track.page(static_cast<std::uint32_t>(i) + 1)) {
      cursor.brought(1);
      ++i;
      --most;
    }
  }
  return faults;
}

TEST(ReplayCursor, a_program_that_does_the_same_again_hardly_faults) {
  const ReplayTrack track(shuffled(5000, 2));
  ReplayCursor cursor;
  cursor.follow(&track);
  EXPECT_LE(faults_of(cursor, track, 0, track.size()), track.size() / 64);
  EXPECT_GT(cursor.take_passed(), track.size() / 2);
  EXPECT_EQ(cursor.take_passed(), 0U);
}

TEST(ReplayCursor, one_that_comes_in_elsewhere_is_found) {
  const ReplayTrack track(shuffled(20'000, 1));
  ReplayCursor cursor;
  cursor.follow(&track);
  EXPECT_LE(faults_of(cursor, track, 12'000, 5000), 600U);
  EXPECT_LE(faults_of(cursor, track, 3000, 5000), 600U) << "and further back";
}

TEST(ReplayCursor, strangers_neither_stop_it_nor_lead_it_astray) {
  const ReplayTrack track(shuffled(5000, 2));
  ReplayCursor cursor;
  cursor.follow(&track);
  std::mt19937_64 random(4);
  std::size_t faults = 0;
  for (std::uint32_t i = 0; i < 5000; ++i) {
    std::uint32_t most = cursor.reached(track.page(i));
    ++faults;
    while (most-- > 0 && cursor.next() == track.page(i + 1)) ++i;
    EXPECT_EQ(cursor.reached(1'000'000 + random() % 100), 0U);
    EXPECT_EQ(cursor.reached(track.page(static_cast<std::uint32_t>(random() % 5000))) / 129, 0U);
  }
  EXPECT_LE(faults, 5000U / 32);
}

TEST(ReplayCursor, without_a_recording_nothing_is_ahead) {
  ReplayCursor cursor;
  EXPECT_EQ(cursor.reached(5), 0U);
}

// --- runs ---

class Record : public Run {
 protected:
  static constexpr const char* kRight = "every byte was right\n";

  [[nodiscard]] std::string file(const char* name = "recording") const {
    return directory_.file(name);
  }
  // A report of the command under 16 MiB, which must end well.
  nlohmann::json report(const std::string& flags, const std::string& command) {
    const std::string path = directory_.file("report");
    const auto result = held("16M", command, "--quiet --report " + path + " " + flags);
    EXPECT_EQ(result.status, 0) << result.output;
    EXPECT_EQ(result.output, kRight);
    std::ifstream stream(path);
    return nlohmann::json::parse(stream, nullptr, false);
  }
  void record(const std::string& command) {
    const auto json = report("--record " + file(), command);
    EXPECT_GT(json["recorded_pages"], 0);
    EXPECT_EQ(json["recorded_pages"], json["pages_in"]);
    EXPECT_EQ(json["ahead_pages"], 0);
  }
  tests::TempDirectory directory_;
};

TEST_F(Record, a_program_that_goes_the_same_way_again_faults_less) {
  const std::string chase = bin("run_chase") + " 48 2";
  record(chase);
  const auto before = report("", chase);
  const auto replayed = report("--replay " + file(), chase);
  EXPECT_GT(before["faults"], 15'000) << "else this shows nothing";
  EXPECT_LT(replayed["faults"].get<double>(), before["faults"].get<double>() / 2);
  EXPECT_GT(replayed["ahead_pages"], 10'000);
  EXPECT_GT(replayed["ahead_passed"], 0);
  EXPECT_LE(replayed["ahead_passed"], replayed["ahead_pages"]);
}

TEST_F(Record, each_address_space_has_its_own) {
  const std::string chase = bin("run_chase") + " 48 1 forks";
  record(chase);
  const auto recording = read_recording(file());
  ASSERT_TRUE(recording) << recording.error();
  ASSERT_EQ(recording->spaces.size(), 3U) << "the program and its two children";
  for (const Recording::Space& space : recording->spaces) {
    EXPECT_EQ(space.name.program, std::filesystem::canonical(bin("run_chase")).string());
    EXPECT_GT(space.pages.size(), 1000U);
  }
  EXPECT_GT(report("--replay " + file(), chase)["ahead_pages"], 10'000);
}

TEST_F(Record, a_recording_can_be_replayed_and_made_anew_in_one_run) {
  const std::string chase = bin("run_chase") + " 48 2";
  record(chase);
  const auto json = report("--record " + file() + " --replay " + file(), chase);
  EXPECT_EQ(json["recorded_pages"], json["pages_in"]);
  EXPECT_GT(json["ahead_pages"], 0);
  EXPECT_TRUE(read_recording(file()));
  EXPECT_EQ(directory_.names().size(), 2U) << "it and the report; nothing half done";
}

TEST_F(Record, what_a_program_prints_stays_the_same) {
  const std::string sorted = "sh -c 'seq 1 600000 | sort -S 64M -n -r | md5sum'";
  const std::string expected = shell(sorted).output;
  for (const char* const flag : {"--record ", "--replay "}) {
    const auto result = held("16M", sorted, "--quiet " + (flag + file()));
    EXPECT_EQ(result.status, 0) << flag;
    EXPECT_EQ(result.output, expected) << flag;
  }
}

TEST_F(Record, every_byte_of_a_program_that_does_anything_is_right_under_its_own_replay) {
  const std::uint64_t seed = tests::test_seed();
  HF_SEED_TRACE(seed);
  for (const char* const arguments : {"1 200 64", "2 120 64 forks", "3 100 64"}) {
    const std::string storm =
        bin("run_storm") + " " + std::to_string(seed % 1000000) + " " + arguments;
    for (const char* const flag : {"--record ", "--replay ", "--replay "}) {
      const auto result = held("16M", storm, "--quiet " + (flag + file()));
      EXPECT_EQ(result.status, 0) << flag << storm << result.output;
      EXPECT_EQ(result.output, kRight) << flag << storm;
    }
  }
}

TEST_F(Record, that_of_another_program_is_told_and_not_replayed) {
  record(bin("run_chase") + " 32 1");
  const auto result = held("16M", "echo ran", "--quiet --replay " + file());
  EXPECT_EQ(result.status, 0);
  const std::string line = "holdfast: run: --replay " + file() + " is of " +
                           recorded_program(bin("run_chase")) + ", not of " +
                           recorded_program("echo") + ": nothing is brought in ahead\n";
  EXPECT_EQ(result.output, line + "ran\n");
}

TEST_F(Record, a_damaged_one_is_refused_before_anything_runs) {
  record(bin("run_chase") + " 32 1");
  const std::string whole = contents(file());
  const auto expect_refused = [&](const std::string& bytes, const std::string& what) {
    std::ofstream(file("damaged"), std::ios::binary) << bytes;
    const auto result = held("16M", "echo ran", "--replay " + file("damaged"));
    EXPECT_EQ(result.status, kExitUsage) << what << result.output;
    EXPECT_TRUE(result.output.starts_with("holdfast: run: --replay " + file("damaged") + ": "))
        << result.output;
    EXPECT_NE(result.output.find(what), std::string::npos) << result.output;
    EXPECT_NE(result.output.find("make it anew by --record"), std::string::npos) << result.output;
    EXPECT_EQ(result.output.find("ran\n"), std::string::npos) << result.output;
  };
  for (const std::size_t length : {std::size_t{0}, std::size_t{5}}) {
    expect_refused(whole.substr(0, length), "byte 0: it is no recording");
  }
  for (const std::size_t length : {std::size_t{20}, std::size_t{100}, whole.size() - 1}) {
    expect_refused(whole.substr(0, length), "it ends at byte " + std::to_string(length));
  }
  expect_refused(whole + "x", "byte " + std::to_string(whole.size()));
  std::string other = whole;
  other[30] ^= 1;
  expect_refused(other, "byte 48: the checksum of its header");
  other = whole;
  other[whole.size() / 2] ^= 1;
  expect_refused(other, "the checksum of its section, from byte ");
  expect_refused("#!/bin/sh\necho something else altogether, and long enough for a header\n",
                 "byte 0: it is no recording");
}

TEST_F(Record, what_cannot_be_read_or_written_is_told_before_anything_runs) {
  struct Case {
    std::string flag, why;
  };
  for (const Case& each : {Case{"--record /no/such/folder/recording", "No such file"},
                           Case{"--record " + directory_.path(), "Is a directory"},
                           Case{"--record /dev/null", "Invalid argument"},
                           Case{"--replay " + file("absent"), "No such file"},
                           Case{"--replay /dev/zero", "byte 0: it is no recording"}}) {
    const auto result = held("16M", "echo ran", "--quiet " + each.flag);
    EXPECT_EQ(result.status, kExitUsage) << each.flag;
    EXPECT_TRUE(result.output.starts_with("holdfast: run: " + each.flag + ": ")) << result.output;
    EXPECT_NE(result.output.find(each.why), std::string::npos) << result.output;
    EXPECT_EQ(result.output.find("ran\n"), std::string::npos) << result.output;
  }
  EXPECT_TRUE(directory_.names().empty()) << "nothing is left behind";
}

TEST_F(Record, a_summary_tells_of_both) {
  const std::string chase = bin("run_chase") + " 48 1";
  const auto recorded = held("16M", chase, "--record " + file());
  EXPECT_NE(recorded.output.find("holdfast: recorded "), std::string::npos) << recorded.output;
  const auto replayed = held("16M", chase, "--replay " + file());
  EXPECT_NE(replayed.output.find(" ahead by the recording, "), std::string::npos)
      << replayed.output;
}

}  // namespace
}  // namespace holdfast::run::test
