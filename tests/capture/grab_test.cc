// `holdfast grab` as a user meets it.
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <regex>
#include <sstream>
#include <string>
#include <thread>

#include "support/run_program.h"

namespace holdfast::capture::test {
namespace {

namespace fs = std::filesystem;

constexpr std::uint64_t kFrameBytes = 64 * 48 * 3 / 2;
const std::string kHeader = "YUV4MPEG2 W64 H48 F25:1 Ip A1:1 C420jpeg\n";

const std::string& grab() {
  static const std::string kProgram = std::string(HOLDFAST_BIN_DIR) + "/holdfast grab";
  return kProgram;
}

tests::ProgramResult shell(const std::string& command) {
  tests::ProgramResult result;
  std::FILE* const pipe = popen(("exec 2>&1; " + command).c_str(), "r");
  if (pipe == nullptr) return result;
  char buffer[4096];
  for (std::size_t got; (got = std::fread(buffer, 1, sizeof buffer, pipe)) != 0;) {
    result.output.append(buffer, got);
  }
  const int status = pclose(pipe);
  result.status = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  return result;
}

bool has_ffmpeg() { return shell("command -v ffmpeg").status == 0; }

std::string content_of(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

std::string y4m_frame(std::uint64_t number) {
  std::string frame = "FRAME\n";
  for (std::uint64_t i = 0; i < kFrameBytes; ++i) {
    frame += static_cast<char>((number * 37 + i * 11 + i / 64) % 251);
  }
  return frame;
}

std::string y4m(std::uint64_t frames) {
  std::string text = kHeader;
  for (std::uint64_t i = 0; i < frames; ++i) text += y4m_frame(i);
  return text;
}

// How many frames a recording has, of those that y4m() makes, in order; 0 if anything else is in
// it.
std::uint64_t whole_frames_in(const std::string& recording) {
  const std::uint64_t frame = kFrameBytes + 6;
  if (!recording.starts_with(kHeader) || (recording.size() - kHeader.size()) % frame != 0) return 0;
  std::uint64_t count = 0;
  std::uint64_t number = 0;
  for (std::size_t at = kHeader.size(); at < recording.size(); at += frame, ++count) {
    while (number < 2000 && recording.compare(at, frame, y4m_frame(number)) != 0) ++number;
    if (number++ == 2000) return 0;
  }
  return count;
}

class Grab : public testing::Test {
 protected:
  void SetUp() override {
    std::signal(SIGPIPE, SIG_IGN);
    char name[] = "/var/tmp/holdfast-grab-XXXXXX";
    ASSERT_NE(mkdtemp(name), nullptr);
    folder = name;
  }
  void TearDown() override { fs::remove_all(folder); }
  [[nodiscard]] std::string path(const char* name) const { return (folder / name).string(); }
  void write_file(const char* name, const std::string& content) const {
    std::ofstream(folder / name, std::ios::binary) << content;
  }

  fs::path folder;
};

TEST_F(Grab, copies_a_file_frame_by_frame_through_a_ring_larger_than_its_memory) {
  write_file("source.y4m", y4m(5000));
  const auto result = shell(grab() + " " + path("source.y4m") + " --ring 32M --memory 8M --out " +
                            path("copy.y4m"));
  EXPECT_EQ(result.status, 0) << result.output;
  EXPECT_NE(result.output.find("5000 frames"), std::string::npos) << result.output;
  EXPECT_TRUE(content_of(path("copy.y4m")) == content_of(path("source.y4m")));
}

TEST_F(Grab, records_raw_frames_from_standard_input) {
  const std::string raw(640 * 100, 'r');
  write_file("source.raw", raw + "and a rest");
  const auto result = shell("cat " + path("source.raw") + " | " + grab() +
                            " - --wait --frame 640 --memory 8M --out " + path("copy.raw"));
  EXPECT_EQ(result.status, 0) << result.output;
  EXPECT_NE(result.output.find("1 damaged"), std::string::npos) << result.output;
  EXPECT_TRUE(content_of(path("copy.raw")) == raw);
}

TEST_F(Grab, a_recording_of_ffmpeg_decodes_to_the_same_frames) {
  if (!has_ffmpeg()) GTEST_SKIP() << "no ffmpeg (Debian package ffmpeg)";
  const std::string source =
      "ffmpeg -v error -f lavfi -i testsrc2=size=320x240:rate=25 -frames:v 300 -pix_fmt yuv420p ";
  const auto recorded = shell(source + "-f yuv4mpegpipe - | " + grab() +
                              " - --wait --ring 64M --memory 8M --out " + path("rec.y4m"));
  ASSERT_EQ(recorded.status, 0) << recorded.output;
  const auto frames = [](const std::string& command) {
    return shell(command + "-f framemd5 - | grep -v '^#'").output;
  };
  const std::string expected = frames(source);
  EXPECT_EQ(std::ranges::count(expected, '\n'), 300) << expected;
  EXPECT_EQ(frames("ffmpeg -v error -i " + path("rec.y4m") + " "), expected);
}

// Writes the header and then frames into the FIFO until its reader has gone.
class EndlessSource {
 public:
  explicit EndlessSource(std::string fifo)
      : thread_([fifo = std::move(fifo)] {
          std::FILE* const file = std::fopen(fifo.c_str(), "w");
          std::fputs(kHeader.c_str(), file);
          for (std::uint64_t i = 0;; ++i) {
            const std::string frame = y4m_frame(i);
            if (std::fwrite(frame.data(), 1, frame.size(), file) != frame.size()) break;
          }
          std::fclose(file);
        }) {}
  ~EndlessSource() { thread_.join(); }
  EndlessSource(const EndlessSource&) = delete;
  EndlessSource& operator=(const EndlessSource&) = delete;

 private:
  std::thread thread_;
};

// Starts `holdfast grab` without a shell, so that a signal reaches it alone.
pid_t start_grab(const std::string& source, const std::string& out) {
  const std::string program = std::string(HOLDFAST_BIN_DIR) + "/holdfast";
  const pid_t child = fork();
  if (child == 0) {
    std::signal(SIGPIPE, SIG_DFL);
    execl(program.c_str(), "holdfast", "grab", source.c_str(), "--quiet", "--wait", "--ring", "32M",
          "--memory", "8M", "--out", out.c_str(), nullptr);
    _exit(127);
  }
  return child;
}

TEST_F(Grab, an_interrupt_ends_it_with_a_whole_file) {
  ASSERT_EQ(mkfifo(path("fifo").c_str(), 0600), 0);
  const pid_t child = start_grab(path("fifo"), path("out.y4m"));
  int status = 0;
  {
    const EndlessSource source(path("fifo"));
    std::error_code error;
    for (std::uintmax_t size = 0; size == static_cast<std::uintmax_t>(-1) || size < 1'000'000;) {
      size = fs::file_size(path("out.y4m"), error);
      ASSERT_EQ(waitpid(child, &status, WNOHANG), 0) << "it ended by itself";
      sched_yield();
    }
    ASSERT_EQ(kill(child, SIGINT), 0);
    ASSERT_EQ(waitpid(child, &status, 0), child);
  }
  ASSERT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 0);
  const std::string recorded = content_of(path("out.y4m"));
  const std::uint64_t frame = kFrameBytes + 6;
  ASSERT_EQ((recorded.size() - kHeader.size()) % frame, 0u) << "whole frames";
  EXPECT_TRUE(recorded == y4m((recorded.size() - kHeader.size()) / frame));
}

TEST_F(Grab, a_full_disk_fills_the_ring_then_frames_are_dropped_and_the_file_is_whole) {
  write_file("source.y4m", y4m(2000));
  // A limit on the size of files does what a full disk does, for this process alone.
  const auto result = shell("ulimit -f 200; " + grab() + " " + path("source.y4m") +
                            " --drop --ring 1M --memory 8M --out " + path("out.y4m"));
  EXPECT_EQ(result.status, 1) << result.output;
  std::smatch match;
  const std::regex form("grab: (\\d+) frames .* (\\d+) dropped, 0 damaged, (\\d+) lost");
  ASSERT_TRUE(std::regex_search(result.output, match, form)) << result.output;
  const std::uint64_t written = std::stoull(match[1]);
  EXPECT_GT(written, 0u);
  EXPECT_GT(std::stoull(match[3]), 0u) << "the ring held some";
  EXPECT_GT(std::stoull(match[2]), 0u);
  EXPECT_EQ(written + std::stoull(match[2]) + std::stoull(match[3]), 2000u);
  EXPECT_EQ(whole_frames_in(content_of(path("out.y4m"))), written);
}

TEST_F(Grab, a_source_that_waits_ends_with_the_full_disk) {
  write_file("source.y4m", y4m(2000));
  const auto result = shell("ulimit -f 1000; " + grab() + " " + path("source.y4m") +
                            " --ring 1M --memory 8M --out " + path("out.y4m"));
  EXPECT_EQ(result.status, 1) << result.output;
  EXPECT_NE(result.output.find("0 dropped"), std::string::npos) << result.output;
  EXPECT_NE(result.output.find("make room"), std::string::npos) << result.output;
}

TEST_F(Grab, a_source_that_changes_its_geometry_leaves_a_whole_file_and_an_error) {
  write_file("source.y4m", y4m(10) + "YUV4MPEG2 W128 H48 F25:1\nFRAME\n" + std::string(9216, 'x'));
  const auto result =
      shell(grab() + " " + path("source.y4m") + " --memory 8M --out " + path("out.y4m"));
  EXPECT_EQ(result.status, 1);
  EXPECT_NE(result.output.find("geometry"), std::string::npos) << result.output;
  EXPECT_TRUE(content_of(path("out.y4m")) == y4m(10));
}

TEST_F(Grab, wrong_usage_is_told_with_the_remedy) {
  write_file("source.y4m", y4m(1));
  const std::string source = path("source.y4m");
  const std::string out = " --out " + path("x");
  EXPECT_EQ(shell(grab() + " " + source).status, 2) << "no --out";
  EXPECT_EQ(shell(grab() + " " + source + out + " --ring 12Q").status, 2);
  EXPECT_EQ(shell(grab() + " " + source + out + " --memory 1M").status, 2);
  EXPECT_EQ(shell(grab() + " " + source + out + " --frame 10xx20").status, 2);
  EXPECT_EQ(shell(grab() + " " + source + out + " --wait --drop").status, 2);
  EXPECT_EQ(shell(grab() + " " + source + out + " --ring 4K").status, 2);
  const auto missing = shell(grab() + " " + path("nothing") + out);
  EXPECT_EQ(missing.status, 1);
  EXPECT_NE(missing.output.find("not_found"), std::string::npos) << missing.output;
  write_file("raw", "no Y4M at all");
  const auto unknown = shell(grab() + " " + path("raw") + out);
  EXPECT_EQ(unknown.status, 2) << unknown.output;
  EXPECT_FALSE(fs::exists(path("x"))) << "nothing is made of what cannot begin";
}

}  // namespace
}  // namespace holdfast::capture::test
