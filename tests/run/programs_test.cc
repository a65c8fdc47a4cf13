// Real programs, with less than a quarter of the memory that they need: what they do is what they
// do without Holdfast.
//
// Each is a script of scripts/, which prepares its input, and then does the work and prints what
// came of it. It runs as it is, which tells what it needs, and then under a quarter of that.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "run/budget.h"
#include "run/execution.h"
#include "run/support.h"
#include "support/temp_directory.h"

namespace holdfast::run::test {
namespace {

constexpr const char* kShim = "libholdfast_run.so";

class RealProgram : public Run {
 protected:
  [[nodiscard]] static std::vector<std::string> script(const std::string& name,
                                                       const std::string& step) {
    return {"/bin/sh", "./" + name, step, HOLDFAST_BIN_DIR};
  }
  [[nodiscard]] std::vector<std::string> held(const std::string& name, std::uint64_t budget) const {
    std::vector<std::string> command{bin("holdfast"),
                                     "run",
                                     "--quiet",
                                     "--memory",
                                     std::to_string(budget),
                                     "--report",
                                     directory_.file("report.json"),
                                     "--"};
    std::ranges::copy(script(name, "work"), std::back_inserter(command));
    return command;
  }

  // At a time it is that many processes, each of which needs as much as the largest.
  void compare(const std::string& name, std::uint64_t processes = 1) const {
    const std::string& here = directory_.path();
    // Where everybody may read them: a script may become somebody who sees less than we do.
    const std::string scripts = std::string(HOLDFAST_SOURCE_DIR) + "/tests/run/scripts/";
    std::filesystem::copy_file(scripts + name, directory_.file(name));
    std::filesystem::copy(scripts + "sources", directory_.file("sources"));
    std::filesystem::copy_file(bin(kShim), directory_.file(kShim));
    const Execution prepared = execute(script(name, "prepare"), here);
    ASSERT_TRUE(prepared.succeeded())
        << "tools/install_packages test installs what is missing: " << prepared.error;
    const Execution native = execute(script(name, "work"), here);
    ASSERT_TRUE(native.succeeded()) << native.output << native.error;
    ASSERT_GE(native.peak_bytes, 4 * Budget::kLeast) << "too little to show anything";
    const std::uint64_t budget = native.peak_bytes * processes / 4;

    const Execution run = execute(held(name, budget), here);
    EXPECT_EQ(run.status, native.status) << run.error;
    EXPECT_EQ(run.output, native.output) << run.error;
    EXPECT_EQ(run.error.find("holdfast"), std::string::npos) << run.error;
    const auto report = nlohmann::json::parse(contents(directory_.file("report.json")), nullptr,
                                              /*allow_exceptions=*/false);
    ASSERT_FALSE(report.is_discarded());
    EXPECT_GT(report["pages_out"], budget / kPageSize / 4) << "it did not need what it was denied";
    std::printf("%s: needs %llu MiB, given %llu; %llu MiB left it, %llu came back\n", name.c_str(),
                static_cast<unsigned long long>(native.peak_bytes * processes >> 20),
                static_cast<unsigned long long>(budget >> 20),
                report["pages_out"].get<unsigned long long>() >> 8,
                report["pages_in"].get<unsigned long long>() >> 8);
  }

  tests::TempDirectory directory_;
};

TEST_F(RealProgram, gnu_sort_sorts) { compare("sort"); }
TEST_F(RealProgram, xz_at_its_strongest_compresses_and_back) { compare("xz"); }
TEST_F(RealProgram, zstd_with_a_long_window_compresses_and_back) { compare("zstd"); }
TEST_F(RealProgram, python_with_numpy_computes) { compare("numpy"); }
TEST_F(RealProgram, python_shares_a_dictionary_with_forked_workers) { compare("multiprocessing"); }
TEST_F(RealProgram, a_parallel_make_compiles_cxx_and_what_it_made_runs) { compare("make", 2); }
TEST_F(RealProgram, sqlite_loads_indexes_and_joins_in_memory) { compare("sqlite"); }
TEST_F(RealProgram, perl_sorts_a_large_hash) { compare("perl"); }
TEST_F(RealProgram, git_repacks_and_every_object_is_what_it_was) { compare("git"); }
TEST_F(RealProgram, node_collects_its_garbage) { compare("node"); }
TEST_F(RealProgram, java_with_g1_collects_its_garbage) { compare("java"); }
TEST_F(RealProgram, go_with_goroutines_collects_its_garbage) { compare("go"); }
TEST_F(RealProgram, postgresql_serves_a_load) { compare("postgresql", 2); }
TEST_F(RealProgram, forks_that_rewrite_on_both_sides_keep_every_page) { compare("forks"); }

}  // namespace
}  // namespace holdfast::run::test
