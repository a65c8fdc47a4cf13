// What a program and its caller see of each other is what they see without Holdfast.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>

#include <filesystem>
#include <fstream>

#include "run/execution.h"
#include "run/job_terminal.h"
#include "run/process_files.h"
#include "run/support.h"
#include "support/temp_directory.h"

namespace holdfast::run::test {
namespace {

class Transparency : public Run {
 protected:
  static std::string run_prefix(const std::string& memory = "64M") {
    return bin("holdfast") + " run --quiet --memory " + memory + " -- ";
  }
  // A shell command line in which HELD stands for the command, or for nothing.
  static tests::ProgramResult either(const std::string& line, bool held) {
    std::string command = line;
    for (std::size_t at; (at = command.find("HELD ")) != std::string::npos;) {
      command.replace(at, 5, held ? run_prefix() : "");
    }
    return shell(command);
  }
  static void same(const std::string& line) {
    const auto native = either(line, false);
    const auto run = either(line, true);
    EXPECT_EQ(run.status, native.status) << run.output;
    EXPECT_EQ(run.output, native.output);
  }
  [[nodiscard]] static std::vector<std::string> perl(const std::string& program) {
    return {bin("holdfast"), "run", "--quiet",           "--memory", "64M", "--",
            "perl",          "-e",  "$| = 1; " + program};
  }
  tests::TempDirectory directory_;
};

TEST_F(Transparency, limits_signals_descriptors_and_groups_are_those_of_the_caller) {
  const std::string script = directory_.file("script");
  std::ofstream(script) << "cat /proc/self/limits\n"
                           "grep -E '^(SigBlk|Cap|NoNewPrivs|Seccomp|Umask|Uid|Gid|Groups)' "
                           "/proc/self/status\n"
                           // Without the real-time signals, two of which are libc's own.
                           "sed -n 's/^Sig\\(Ign\\|Cgt\\).*\\(........\\)$/\\2/p' "
                           "/proc/self/status\n"
                           "ls /proc/$$/fd\n"
                           "pwd; umask; nice; cat /proc/self/oom_score_adj\n"
                           "ps -o pgid=,sid=,tty= -p $$\n"
                           "env | grep -vE '^(LD_PRELOAD|HOLDFAST_RUN_PAGER|_|SHLVL)=' | sort\n"
                           "tr '\\0' ' ' </proc/$$/cmdline\n";
  same("HELD sh " + script + " one 'two three'");
}

TEST_F(Transparency, what_the_caller_preloads_stays_preloaded) {
  const auto run = shell("LD_PRELOAD=libm.so.6 " + run_prefix() + "sh -c 'echo $LD_PRELOAD'");
  EXPECT_NE(run.output.find(":libm.so.6\n"), std::string::npos) << run.output;
}

TEST_F(Transparency, standard_input_and_output_are_pipes_as_given) {
  same("printf 'a\\nb\\n' | HELD cat | HELD tr a-z A-Z");
  same("{ HELD yes; echo $? >&2; } | head -n 1");
  same("HELD sh -c 'echo out; echo err >&2' 2>&1 >/dev/null");
  same("HELD cat <&-; echo $?");
}

TEST_F(Transparency, exit_statuses_and_signals_are_the_programs) {
  for (const char* const end : {"exit 0", "exit 200", "kill -SEGV $$", "kill -KILL $$",
                                "kill -ABRT $$", "kill -HUP $$", "exec false"}) {
    same(std::string("ulimit -c 0; HELD sh -c '") + end + "'; echo $?");
  }
}

TEST_F(Transparency, a_program_that_dies_leaves_its_core) {
  std::string pattern = contents("/proc/sys/kernel/core_pattern");
  if (pattern.starts_with("|") || pattern.starts_with("/")) {
    GTEST_SKIP() << "this machine's cores go elsewhere: " << pattern;
  }
  rlimit cores{.rlim_cur = RLIM_INFINITY, .rlim_max = RLIM_INFINITY};
  if (::setrlimit(RLIMIT_CORE, &cores) != 0) GTEST_SKIP() << "cores are limited for good";
  const Execution run =
      execute({bin("holdfast"), "run", "--quiet", "--memory", "24M", "--", "perl", "-e",
               "my @a = map { \"text $_\" } 1..400000; kill 'SEGV', $$; sleep while 1"},
              directory_.path());
  EXPECT_TRUE(WIFSIGNALED(run.status) && WTERMSIG(run.status) == SIGSEGV) << run.status;
  std::vector<std::string> cores_left = directory_.names();
  std::erase_if(cores_left, [](const std::string& name) { return !name.starts_with("core"); });
  ASSERT_EQ(cores_left.size(), 1U) << "one core, of the program, and none of the command";
  EXPECT_EQ(contents(directory_.file(cores_left.front())).substr(0, 4), "\177ELF");
}

TEST_F(Transparency, a_daemon_outlives_its_parent_and_has_its_memory) {
  const Execution run =
      execute({bin("holdfast"), "run", "--quiet", "--memory", "24M", "--", "perl", "-e",
               "use POSIX; if (fork) { exit 5 } POSIX::setsid(); if (fork) { exit 0 }"
               "my @a = map { \"text $_\" } 0..299999; my $right = 0;"
               "for (0..299999) { ++$right if $a[$_] eq \"text $_\" }"
               "open my $file, '>', 'daemon'; print $file $right"},
              directory_.path());
  EXPECT_TRUE(WIFEXITED(run.status) && WEXITSTATUS(run.status) == 5) << run.status << run.error;
  EXPECT_EQ(contents(directory_.file("daemon")), "300000");
}

TEST_F(Transparency, a_set_uid_program_becomes_who_it_is) {
  if (::getuid() != 0) GTEST_SKIP() << "making a program of somebody else's needs root";
  constexpr uid_t kNobody = 65534;
  const std::string program = directory_.file("id");
  std::filesystem::permissions(directory_.path(), std::filesystem::perms(0755));
  std::filesystem::copy_file("/usr/bin/id", program);
  ASSERT_EQ(::chown(program.c_str(), kNobody, kNobody), 0);
  std::filesystem::permissions(program, std::filesystem::perms(04755));
  const Execution run =
      execute({bin("holdfast"), "run", "--quiet", "--memory", "24M", "--", program, "-u"},
              directory_.path());
  EXPECT_TRUE(WIFEXITED(run.status) && WEXITSTATUS(run.status) == 0) << run.status;
  EXPECT_EQ(run.output, "65534\n");
}

TEST_F(Transparency, a_program_that_is_stopped_and_continued_loses_no_byte) {
  const pid_t guardian = start({bin("holdfast"), "run", "--quiet", "--memory", "24M", "--",
                                bin("run_storm"), "6", "2", "150", "96"},
                               directory_.path());
  const auto below = [](pid_t parent) -> pid_t {
    for (;;) {
      const std::vector<int> all = descendants(parent);
      if (!all.empty()) return all.front();
      if (program_of(parent).empty()) return 0;
    }
  };
  const pid_t pager = below(guardian);
  const pid_t program = pager == 0 ? 0 : below(pager);
  ASSERT_NE(program, 0);
  const std::string state = "/proc/" + std::to_string(program) + "/stat";
  int stops = 0;
  for (; stops < 40 && !program_of(program).empty(); ++stops) {
    ::kill(program, SIGSTOP);
    for (std::string text = contents(state); !text.empty() && text.find(") T") == text.npos;) {
      if (text.find(") Z") != text.npos) break;
      text = contents(state);
    }
    for (int i = 0; i < 300; ++i) [[maybe_unused]]
      const auto pages = resident_pages(program);
    ::kill(program, SIGCONT);
    for (int i = 0; i < 300; ++i) [[maybe_unused]]
      const auto pages = resident_pages(program);
  }
  const Execution run = await(guardian, directory_.path());
  EXPECT_GT(stops, 1);
  EXPECT_TRUE(run.succeeded()) << run.status << run.output << run.error;
  EXPECT_EQ(run.output, "every byte was right\n");
}

// --- at a terminal ---

TEST_F(Transparency, control_c_ends_the_program_and_the_command_by_that_signal) {
  JobTerminal terminal(
      perl("print -t STDIN && -t STDOUT && -t STDERR ? 'ready' : 'no terminal'; "
           "sleep while 1"));
  ASSERT_TRUE(terminal.await("ready"));
  terminal.type("\x03");
  const int status = terminal.next_change();
  EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGINT) << status;
}

TEST_F(Transparency, control_c_reaches_the_program_once) {
  JobTerminal terminal(
      perl("my $n = 0; $SIG{INT} = sub { ++$n }; print 'ready'; sleep 1 until $n; "
           "sleep 1; print \"caught $n\"; exit 3"));
  ASSERT_TRUE(terminal.await("ready"));
  terminal.type("\x03");
  const int status = terminal.next_change();
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 3) << status;
  EXPECT_NE(terminal.screen().find("caught 1"), std::string::npos) << terminal.screen();
}

TEST_F(Transparency, control_z_stops_the_command_and_fg_continues_the_program) {
  JobTerminal terminal(
      perl("$SIG{CONT} = sub { print 'continued'; exit 4 }; print 'ready'; "
           "sleep while 1"));
  ASSERT_TRUE(terminal.await("ready"));
  terminal.type("\x1a");
  const int stopped = terminal.next_change();
  ASSERT_TRUE(WIFSTOPPED(stopped) && WSTOPSIG(stopped) == SIGTSTP) << stopped;
  terminal.resume();
  const int status = terminal.next_change();
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 4) << status;
  EXPECT_NE(terminal.screen().find("continued"), std::string::npos) << terminal.screen();
}

TEST_F(Transparency, the_program_reads_from_the_terminal) {
  JobTerminal terminal(perl("print 'ready'; my $line = <STDIN>; print \"got $line\"; exit 2"));
  ASSERT_TRUE(terminal.await("ready"));
  terminal.type("words\n");
  const int status = terminal.next_change();
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 2) << status;
  EXPECT_NE(terminal.screen().find("got words"), std::string::npos) << terminal.screen();
}

}  // namespace
}  // namespace holdfast::run::test
