// The status line, on a pseudo-terminal: there while the program runs, gone when it has ended, and
// never where there is no terminal.

#include <string>
#include <vector>

#include "run/run.h"
#include "run/static_program.h"
#include "run/status_line.h"
#include "run/support.h"
#include "run/terminal.h"
#include "support/temp_directory.h"

namespace holdfast::run::test {
namespace {

Status example() {
  return {.budget_bytes = 512 << 20,
          .resident_bytes = 500 << 20,
          .out_bytes = 800 << 20,
          .compressed_bytes = 230 << 20,
          .file_bytes = 0,
          .faults_per_second = 12'340,
          .stalled = 0.414};
}

TEST(StatusLine, says_what_there_is_room_for) {
  const std::string whole =
      "holdfast: resident 500 MiB of 512 MiB   evicted 800 MiB to 230 MiB   12.3k faults/s   "
      "stalled 41 %";
  EXPECT_EQ(status_text(example(), 200), whole);
  EXPECT_EQ(status_text(example(), static_cast<unsigned>(whole.size())), whole);
  for (unsigned columns = 0; columns < 120; ++columns) {
    EXPECT_LE(status_text(example(), columns).size(), columns);
  }
}

class OnTerminal : public Run {
 protected:
  static std::vector<std::string> holding(std::vector<std::string> flags,
                                          const std::string& script) {
    std::vector<std::string> all{bin("holdfast"), "run", "--memory", "64M"};
    all.insert(all.end(), flags.begin(), flags.end());
    all.insert(all.end(), {"--", "sh", "-c", script});
    return all;
  }
};

TEST_F(OnTerminal, a_line_is_shown_while_it_runs_and_taken_away_at_the_end) {
  Terminal terminal(holding({}, "read word; echo got $word"), "xterm");
  ASSERT_TRUE(terminal.see("holdfast: resident")) << terminal.seen();
  EXPECT_NE(terminal.seen().find("\033[1;23r"), std::string::npos) << "the lowest row is set apart";
  terminal.forget();
  terminal.type("hello\n");
  EXPECT_EQ(terminal.end(), 0);
  const std::size_t removed = terminal.seen().rfind(status_row_removal(24));
  const std::size_t summary = terminal.seen().find("holdfast: peak resident");
  EXPECT_NE(terminal.seen().find("got hello\r\n"), std::string::npos);
  ASSERT_NE(removed, std::string::npos) << terminal.seen();
  ASSERT_NE(summary, std::string::npos) << terminal.seen();
  EXPECT_LT(removed, summary);
}

TEST_F(OnTerminal, a_program_that_has_the_terminal_for_itself_keeps_it) {
  // A program without line editing; the line comes when it has given the terminal back.
  Terminal terminal(holding({}, "stty -icanon; echo mine; read a; stty icanon; echo yours; read b"),
                    "xterm");
  Terminal other(holding({}, "read word"), "xterm");
  ASSERT_TRUE(terminal.see("mine"));
  ASSERT_TRUE(other.see("holdfast: resident"));  // its time has come there
  terminal.forget();
  terminal.type("\n");
  ASSERT_TRUE(terminal.see("holdfast: resident")) << terminal.seen();
  EXPECT_LT(terminal.seen().find("yours"), terminal.seen().find("holdfast: resident"));
  terminal.type("\n");
  EXPECT_EQ(terminal.end(), 0);
  other.type("\n");
  EXPECT_EQ(other.end(), 0);
}

TEST_F(OnTerminal, a_quiet_run_and_a_dumb_terminal_show_nothing) {
  // Long enough for a line to come, if there were one: it comes when the other run shows its own.
  for (const bool quiet : {true, false}) {
    Terminal silent(
        holding(quiet ? std::vector<std::string>{"--quiet"} : std::vector<std::string>{},
                "read word; echo got $word"),
        quiet ? "xterm" : "dumb");
    Terminal other(holding({}, "read word"), "xterm");
    ASSERT_TRUE(other.see("holdfast: resident"));
    silent.type("hello\n");
    EXPECT_EQ(silent.end(), 0);
    EXPECT_EQ(silent.seen().find("holdfast: resident"), std::string::npos);
    EXPECT_EQ(silent.seen().find('\033'), std::string::npos);
    other.type("\n");
    EXPECT_EQ(other.end(), 0);
  }
}

TEST_F(OnTerminal, a_child_that_runs_unmanaged_is_named_with_the_reason) {
  tests::TempDirectory directory;
  const std::string program = build_static(directory, "wait_for_input", "return getchar() == 0;");
  if (program.empty()) GTEST_SKIP() << "no C compiler that links statically";
  Terminal terminal(holding({"--quiet"}, program + "; " + program + "; env -i cat; true"), "xterm");
  EXPECT_TRUE(terminal.see("wait_for_input ("));
  EXPECT_TRUE(terminal.see("runs unmanaged: it is statically linked")) << terminal.seen();
  terminal.forget();
  terminal.type("\n\n");
  EXPECT_TRUE(terminal.see("runs unmanaged: it was started without the environment"))
      << terminal.seen();
  EXPECT_EQ(terminal.seen().find("statically"), std::string::npos) << "once: " << terminal.seen();
  terminal.type("\4");  // end of file
  EXPECT_EQ(terminal.end(), 0);
}

TEST_F(OnTerminal, a_killed_pager_leaves_no_line_behind) {
  Terminal terminal(holding({}, "read word; kill -KILL $PPID"), "xterm");
  ASSERT_TRUE(terminal.see("holdfast: resident"));
  terminal.forget();
  terminal.type("go\n");
  EXPECT_EQ(terminal.end(), kExitPagerFailed);
  EXPECT_NE(terminal.seen().find(status_row_removal(24)), std::string::npos) << terminal.seen();
}

}  // namespace
}  // namespace holdfast::run::test
