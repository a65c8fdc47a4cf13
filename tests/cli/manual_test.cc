// The man pages and the completion: each flag is in them, and the tools for which they are made
// take them.
#include "cli/manual.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cstdlib>
#include <fstream>

#include "cli/run_command.h"
#include "support/run_program.h"
#include "support/temp_directory.h"

namespace holdfast::cli {
namespace {

using tests::run_program;

bool is_there(const char* program) {
  return std::system((std::string("command -v ") + program + " >/dev/null").c_str()) == 0;
}

TEST(Manual, each_flag_of_a_command_is_in_its_page) {
  CLI::App app("Run any program", "run");
  RunCommand command;
  declare(app, command);
  const std::string page = man_page(app, "1.2");
  EXPECT_TRUE(page.starts_with(".TH \"RUN\" 1 \"\" \"Holdfast 1.2\"")) << page.substr(0, 60);
  for (const CLI::Option* const option : app.get_options()) {
    for (const std::string& name : option->get_lnames()) {
      std::string typeset;
      for (const char c : name) typeset += c == '-' ? "\\-" : std::string(1, c);
      EXPECT_NE(page.find("\\fB\\-\\-" + typeset + "\\fR"), std::string::npos) << name;
    }
  }
  for (const char* const section :
       {"NAME", "SYNOPSIS", "\"DESCRIPTION\"", "OPTIONS", "\"EXIT STATUS\"", "\"EXAMPLES\""}) {
    EXPECT_NE(page.find(std::string(".SH ") + section), std::string::npos) << section;
  }
}

TEST(Manual, a_line_that_troff_would_take_for_its_own_is_text) {
  CLI::App app(".hidden \\ file", "x");
  app.add_flag("--a")->description("'quoted");
  const std::string page = man_page(app, "1");
  EXPECT_NE(page.find("\\&'quoted"), std::string::npos) << page;
  EXPECT_NE(page.find("\\e file"), std::string::npos) << page;
}

TEST(Manual, pages_render_without_a_warning) {
  if (!is_there("groff")) GTEST_SKIP() << "groff is not installed";
  tests::TempDirectory directory;
  for (const std::string name : {"", "run", "grab", "image", "journal", "far", "doctor"}) {
    const auto page = run_program("holdfast", "man " + name);
    ASSERT_EQ(page.status, 0) << page.output;
    const std::string path = directory.file("page.1");
    std::ofstream(path) << page.output;
    const auto rendered = run_program(
        "holdfast", "--version >/dev/null; groff -man -ww -Tutf8 " + path + " 2>&1 >/dev/null");
    EXPECT_EQ(rendered.output, "") << name;
  }
  EXPECT_EQ(run_program("holdfast", "man surgery").status, 2);
}

class Completion : public testing::Test {
 protected:
  void SetUp() override {
    if (!is_there("bash")) GTEST_SKIP() << "bash is not installed";
    const auto script = run_program("holdfast", "completion bash");
    ASSERT_EQ(script.status, 0);
    std::ofstream(directory.file("completion")) << script.output;
  }
  // What bash offers for the last of the words, a line each.
  std::string offers(const std::string& words) {
    const std::string script = directory.file("complete");
    std::ofstream(script) << ". " << directory.file("completion") << "\nCOMP_WORDS=(" << words
                          << ")\nCOMP_CWORD=$((${#COMP_WORDS[@]} - 1))\n_holdfast\n"
                          << "printf '%s\\n' \"${COMPREPLY[@]}\"\n";
    return run_program("holdfast", "--version >/dev/null; bash -u " + script).output;
  }
  tests::TempDirectory directory;
};

TEST_F(Completion, flags_and_commands_are_offered) {
  EXPECT_EQ(offers("holdfast ru"), "run\n");
  EXPECT_EQ(offers("holdfast image ver"), "verify\n");
  EXPECT_EQ(offers("holdfast run --mem"), "--memory\n");
  EXPECT_EQ(offers("holdfast run --memory 4M --exp"), "--explain\n");
  EXPECT_EQ(offers("holdfast doctor --j"), "--json\n");
  EXPECT_EQ(offers("holdfast journal --p"), "--pages\n");
  EXPECT_EQ(offers("holdfast com"), "\n") << "what is hidden stays so";
}

TEST_F(Completion, values_are_offered_by_their_kind) {
  const std::string processes =
      offers("holdfast run --explain --pid " + std::to_string(::getpid()));
  EXPECT_NE(("\n" + processes).find("\n" + std::to_string(::getpid()) + "\n"), std::string::npos);
  EXPECT_EQ(offers("holdfast run --swap r"), "ram\nram:zstd\n");
  EXPECT_EQ(offers("holdfast run --swap ram : z"), "zstd\n") << "bash cuts words at colons";
  EXPECT_EQ(offers("holdfast run --report " + directory.file("compl")),
            directory.file("completion") + "\n" + directory.file("complete") + "\n");
}

TEST_F(Completion, after_two_dashes_come_programs) {
  const std::string programs = offers("holdfast run --memory 4M -- ba");
  EXPECT_NE(("\n" + programs).find("\nbash\n"), std::string::npos) << programs;
}

}  // namespace
}  // namespace holdfast::cli
