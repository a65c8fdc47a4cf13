// Which programs can be managed and which not, and how a person is told.
#include <gtest/gtest.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <fstream>

#include "run/needs.h"
#include "run/program_file.h"
#include "run/run.h"
#include "run/static_program.h"
#include "run/support.h"
#include "support/temp_directory.h"

namespace holdfast::run::test {
namespace {

namespace fs = std::filesystem;

class ProgramFiles : public testing::Test {
 protected:
  std::string write(const std::string& name, const std::string& content) {
    const std::string path = directory.file(name);
    std::ofstream(path) << content;
    fs::permissions(path, fs::perms::owner_all);
    return path;
  }
  std::string static_program() { return build_static(directory, "static", "return 0;"); }
  tests::TempDirectory directory;
};

TEST_F(ProgramFiles, a_dynamic_program_works_and_names_its_loader) {
  const ProgramFile shell = find_program("sh");
  EXPECT_EQ(shell.preload, Preload::works);
  EXPECT_TRUE(shell.path.ends_with("/sh")) << shell.path;
  EXPECT_NE(shell.loader.find("ld-linux-x86-64"), std::string::npos) << shell.loader;
}

TEST_F(ProgramFiles, a_script_is_judged_by_its_interpreter) {
  const ProgramFile direct = find_program(write("direct", "#! /bin/sh -e\necho\n"));
  EXPECT_EQ(direct.preload, Preload::script);
  EXPECT_EQ(direct.interpreter, "/bin/sh");
  EXPECT_EQ(direct.argument, "-e");
  EXPECT_EQ(follow_interpreter(direct).preload, Preload::works);
  const ProgramFile by_env = find_program(write("by_env", "#!/usr/bin/env sh\necho\n"));
  const ProgramFile shell = follow_interpreter(by_env);
  EXPECT_TRUE(shell.path.ends_with("/sh")) << shell.path;
  // A script that names itself has no end; it is not followed for ever.
  const std::string itself = directory.file("itself");
  EXPECT_EQ(follow_interpreter(find_program(write("itself", "#!" + itself + "\n"))).preload,
            Preload::script);
}

TEST_F(ProgramFiles, what_cannot_be_run_is_told_apart) {
  EXPECT_EQ(find_program("no-such-program-anywhere").preload, Preload::not_found);
  EXPECT_EQ(find_program("/no/such/program").preload, Preload::not_found);
  EXPECT_EQ(find_program("/etc/passwd").preload, Preload::not_executable);
  EXPECT_EQ(find_program("/tmp").preload, Preload::not_executable);
  EXPECT_EQ(find_program(write("text", "hello\n")).preload, Preload::not_a_program);
  EXPECT_EQ(find_program(write("empty", "")).preload, Preload::not_a_program);
}

TEST_F(ProgramFiles, a_cut_header_is_no_program_of_this_machine) {
  EXPECT_EQ(find_program(write("cut", "\177ELF\2")).preload, Preload::other_machine);
}

TEST_F(ProgramFiles, a_set_uid_program_is_not_preloaded_into_for_others) {
  const std::string path = directory.file("su");
  fs::copy_file(fs::canonical("/bin/sh"), path);
  fs::permissions(path, fs::perms::all | fs::perms::set_uid);
  EXPECT_EQ(inspect_program(path, ::getuid()).preload, Preload::works) << "it is its user's own";
  EXPECT_EQ(inspect_program(path, ::getuid() + 1).preload, Preload::set_user);
}

TEST_F(ProgramFiles, a_static_program_is_told) {
  const std::string path = static_program();
  if (path.empty()) GTEST_SKIP() << "no C compiler that links statically";
  EXPECT_EQ(find_program(path).preload, Preload::static_linked);
}

// --- needs ---

Needs all_met() {
  return {.userfault_errno = 0,
          .events_errno = 0,
          .trace = true,
          .move = true,
          .pagemap_scan = true,
          .shim = "/lib/shim.so"};
}

TEST(Needs, each_that_is_missing_is_named_with_a_remedy) {
  EXPECT_TRUE(all_met().met());
  EXPECT_EQ(refusal(all_met()), "");
  const auto check = [](const Needs& needs, const std::string& word) {
    EXPECT_FALSE(needs.met());
    EXPECT_NE(refusal(needs).find(word), std::string::npos) << refusal(needs);
  };
  Needs needs = all_met();
  needs.shim.clear();
  check(needs, "--shim");
  needs = all_met();
  needs.userfault_errno = EPERM;
  check(needs, "CAP_SYS_PTRACE");
  needs.userfault_errno = ENOSYS;
  check(needs, "6.8");
  needs = all_met();
  needs.events_errno = EPERM;
  check(needs, "forks");
  needs = all_met();
  needs.trace = false;
  check(needs, "CAP_SYS_PTRACE");
  needs = all_met();
  needs.move = false;
  check(needs, "UFFDIO_MOVE");
  needs = all_met();
  needs.pagemap_scan = false;
  check(needs, "PAGEMAP_SCAN");
}

TEST(Needs, without_the_capability_it_is_refused_before_anything_runs) {
  if (::getuid() != 0) GTEST_SKIP() << "only root has a capability to give up";
  if (shell("command -v setpriv").status != 0) GTEST_SKIP() << "setpriv is not installed";
  const auto result = shell("setpriv --bounding-set=-sys_ptrace,-sys_admin " + bin("holdfast") +
                            " run --memory 64M -- echo ran");
  EXPECT_EQ(result.status, kExitUsage) << result.output;
  EXPECT_NE(result.output.find("CAP_SYS_PTRACE"), std::string::npos) << result.output;
  EXPECT_EQ(result.output.find("ran\n"), std::string::npos) << result.output;
}

// --- the command ---

class Explain : public ProgramFiles {
 protected:
  void SetUp() override {
    if (!probe_needs().met()) GTEST_SKIP() << refusal(probe_needs());
  }
  static tests::ProgramResult explain(const std::string& arguments) {
    return tests::run_program("holdfast", "run --explain " + arguments);
  }
};

TEST_F(Explain, a_program_is_not_run) {
  const std::string proof = directory.file("proof");
  const auto result = explain("--memory 64M -- touch " + proof);
  EXPECT_EQ(result.status, 0) << result.output;
  EXPECT_FALSE(fs::exists(proof));
  for (const char* const word :
       {"dynamically linked", "LD_PRELOAD", "64.0 MiB", "lz4", "managed"}) {
    EXPECT_NE(result.output.find(word), std::string::npos) << word << "\n" << result.output;
  }
}

TEST_F(Explain, it_ends_as_the_run_would) {
  EXPECT_EQ(explain("-- /no/such/program").status, kExitNotFound);
  EXPECT_EQ(explain("-- /etc/passwd").status, kExitNotExecutable);
  const auto small = explain("--memory 1M -- true");
  EXPECT_EQ(small.status, kExitUsage);
  EXPECT_NE(small.output.find("at least 16.0 MiB"), std::string::npos) << small.output;
  EXPECT_EQ(explain("").status, kExitUsage);
}

TEST_F(Explain, a_static_program_is_said_to_run_unmanaged_and_does) {
  const std::string path = static_program();
  if (path.empty()) GTEST_SKIP() << "no C compiler that links statically";
  const auto explained = explain("-- " + path);
  EXPECT_EQ(explained.status, 1);
  EXPECT_NE(explained.output.find("statically linked"), std::string::npos) << explained.output;
  const auto run = held("64M", path);
  EXPECT_EQ(run.status, 0);
  EXPECT_NE(run.output.find("static runs unmanaged: it is statically linked"), std::string::npos)
      << run.output;
  EXPECT_EQ(run.output.find('\n'), run.output.size() - 1) << "once: " << run.output;
}

TEST_F(Explain, a_process_is_told_by_its_mappings) {
  const auto result = explain("--pid " + std::to_string(::getpid()));
  EXPECT_EQ(result.status, 0) << result.output;
  for (const char* const word : {"heap", "main stack", "file", "yes", "no: "}) {
    EXPECT_NE(result.output.find(word), std::string::npos) << word << "\n" << result.output;
  }
  EXPECT_EQ(explain("--pid 999999999").status, 1);
}

TEST_F(Explain, a_pid_without_explain_is_wrong_usage) {
  EXPECT_EQ(tests::run_program("holdfast", "run --pid 1").status, 2);
  EXPECT_EQ(tests::run_program("holdfast", "run -- true").status, 2);
  EXPECT_EQ(tests::run_program("holdfast", "run --memory 64M").status, 2);
}

}  // namespace
}  // namespace holdfast::run::test
