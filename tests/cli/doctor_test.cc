#include "cli/doctor.h"

#include <gtest/gtest.h>

#include <cerrno>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "support/run_program.h"

namespace holdfast::cli {
namespace {

using tests::run_program;

sys::Capabilities good_machine() {
  sys::Capabilities machine;
  machine.kernel_release = "6.18.44";
  machine.userfault_device = machine.userfault_call = machine.userfault_user_mode = {true, 0};
  machine.signal_delivery = machine.thread_delivery = {true, 0};
  machine.remap_out = machine.io_uring = machine.vectored_discard = {true, 0};
  machine.has_move = machine.has_sigbus = true;
  machine.memory_limit.value = sys::kUnlimited;
  machine.memory.value = 24ull << 30;
  machine.cpus_configured = machine.cpus_usable = 2;
  return machine;
}

// A default container: userfaultfd and io_uring refused.
sys::Capabilities container() {
  sys::Capabilities machine = good_machine();
  machine.userfault_device = {false, ENOENT};
  machine.userfault_call = machine.userfault_user_mode = {false, EPERM};
  machine.signal_delivery = machine.thread_delivery = {false, EPERM};
  machine.io_uring = {false, EPERM};
  machine.memory_limit.value = 512ull << 20;
  machine.has_move = false;
  return machine;
}

const Finding& find(const Diagnosis& diagnosis, const std::string& key) {
  for (const Finding& finding : diagnosis.findings) {
    if (finding.key == key) return finding;
  }
  static const Finding none;
  ADD_FAILURE() << "no finding " << key;
  return none;
}

TEST(Doctor, a_machine_with_everything_gets_the_best_pmap_and_no_remedy_for_opening) {
  const Diagnosis diagnosis = diagnose(good_machine());
  EXPECT_TRUE(diagnosis.usable);
  EXPECT_EQ(diagnosis.pmap, "remap with MOVE");
  EXPECT_EQ(find(diagnosis, "userfaultfd-device").verdict, Finding::Verdict::good);
  EXPECT_EQ(find(diagnosis, "memory").text, "24576 MiB");
  EXPECT_EQ(find(diagnosis, "memory-limit").text, "no limit");
  for (const Finding& finding : diagnosis.findings) {
    EXPECT_NE(finding.verdict, Finding::Verdict::missing) << finding.key;
  }
}

TEST(Doctor, without_move_pages_are_copied) {
  sys::Capabilities machine = good_machine();
  machine.has_move = false;
  const Diagnosis diagnosis = diagnose(machine);
  EXPECT_TRUE(diagnosis.usable);
  EXPECT_EQ(diagnosis.pmap, "remap with COPY only");
  EXPECT_NE(find(diagnosis, "uffdio-move").remedy.find("6.8"), std::string::npos);
}

TEST(Doctor, a_refusal_names_sysctl_device_and_capability) {
  const Diagnosis diagnosis = diagnose(container());
  EXPECT_FALSE(diagnosis.usable);
  EXPECT_EQ(diagnosis.pmap, "none");
  const Finding& finding = find(diagnosis, "userfaultfd-call");
  EXPECT_EQ(finding.verdict, Finding::Verdict::missing);
  EXPECT_NE(finding.text.find("Operation not permitted"), std::string::npos);
  for (const char* word : {"/dev/userfaultfd", "vm.unprivileged_userfaultfd", "CAP_SYS_PTRACE"}) {
    EXPECT_NE(finding.remedy.find(word), std::string::npos) << word;
  }
  EXPECT_EQ(find(diagnosis, "io_uring").verdict, Finding::Verdict::note);
}

TEST(Doctor, one_way_to_a_userfaultfd_is_enough) {
  sys::Capabilities machine = container();
  machine.userfault_user_mode = {true, 0};
  machine.signal_delivery = {true, 0};
  const Diagnosis diagnosis = diagnose(machine);
  EXPECT_TRUE(diagnosis.usable);
  EXPECT_EQ(find(diagnosis, "userfaultfd-device").verdict, Finding::Verdict::note);
  EXPECT_EQ(find(diagnosis, "thread-delivery").verdict, Finding::Verdict::note);
}

TEST(Doctor, without_mremap_dontunmap_no_engine_can_run) {
  sys::Capabilities machine = good_machine();
  machine.remap_out = {false, EINVAL};
  const Diagnosis diagnosis = diagnose(machine);
  EXPECT_FALSE(diagnosis.usable);
  EXPECT_EQ(find(diagnosis, "mremap-dontunmap").verdict, Finding::Verdict::missing);
}

TEST(Doctor, text_says_missing_and_ends_with_the_verdict) {
  const std::string text = as_text(diagnose(container()));
  EXPECT_NE(text.find("MISSING"), std::string::npos);
  EXPECT_NE(text.find("-> as root: chmod 666 /dev/userfaultfd"), std::string::npos);
  EXPECT_TRUE(text.ends_with("no engine can run here\n"));
  EXPECT_TRUE(as_text(diagnose(good_machine())).ends_with("\nan engine can run here\n"));
}

TEST(Doctor, json_holds_every_finding) {
  const Diagnosis diagnosis = diagnose(container());
  const auto json = nlohmann::json::parse(as_json(diagnosis));
  EXPECT_EQ(json["usable"], false);
  EXPECT_EQ(json["pmap"], "none");
  EXPECT_EQ(json["findings"].size(), diagnosis.findings.size());
  EXPECT_EQ(json["findings"]["userfaultfd-device"]["missing"], true);
  EXPECT_TRUE(json["findings"]["userfaultfd-device"].contains("remedy"));
}

run::Needs good_for_run() {
  return {.userfault_errno = 0,
          .events_errno = 0,
          .trace = true,
          .move = true,
          .pagemap_scan = true,
          .shim = "/usr/lib/holdfast/libholdfast_run.so"};
}

TEST(Doctor, what_run_needs_is_told_apart_from_what_an_engine_needs) {
  Diagnosis diagnosis = diagnose(good_machine());
  add_run(diagnosis, good_for_run());
  EXPECT_TRUE(diagnosis.run_usable);
  EXPECT_EQ(find(diagnosis, "run").verdict, Finding::Verdict::good);
  EXPECT_EQ(find(diagnosis, "run-shim").text, "/usr/lib/holdfast/libholdfast_run.so");

  diagnosis = diagnose(good_machine());
  run::Needs needs = good_for_run();
  needs.trace = false;
  needs.events_errno = EPERM;
  add_run(diagnosis, needs);
  EXPECT_TRUE(diagnosis.usable) << "an engine can run";
  EXPECT_FALSE(diagnosis.run_usable);
  EXPECT_EQ(find(diagnosis, "run").verdict, Finding::Verdict::missing);
  EXPECT_EQ(find(diagnosis, "run-userfaultfd").verdict, Finding::Verdict::good);
  EXPECT_NE(find(diagnosis, "run-fork-events").remedy.find("cap_sys_ptrace"), std::string::npos);
}

TEST(Doctor, each_need_of_run_has_a_remedy) {
  const auto remedy = [](const run::Needs& needs, const char* key) {
    Diagnosis diagnosis = diagnose(good_machine());
    add_run(diagnosis, needs);
    EXPECT_FALSE(diagnosis.run_usable) << key;
    EXPECT_EQ(find(diagnosis, key).verdict, Finding::Verdict::missing) << key;
    return find(diagnosis, key).remedy;
  };
  run::Needs needs = good_for_run();
  needs.userfault_errno = EPERM;
  EXPECT_NE(remedy(needs, "run-userfaultfd").find("/dev/userfaultfd"), std::string::npos);
  needs = good_for_run();
  needs.move = false;
  EXPECT_NE(remedy(needs, "run-uffdio-move").find("6.8"), std::string::npos);
  needs = good_for_run();
  needs.pagemap_scan = false;
  EXPECT_NE(remedy(needs, "run-pagemap-scan").find("6.7"), std::string::npos);
  needs = good_for_run();
  needs.shim.clear();
  EXPECT_NE(remedy(needs, "run-shim").find("../lib/holdfast"), std::string::npos);
}

TEST(Command, doctor_exits_by_its_verdict) {
  const auto result = run_program("holdfast", "doctor");
  const bool usable = diagnose(sys::probe_capabilities()).usable;
  EXPECT_EQ(result.status, usable ? 0 : 1) << result.output;
  EXPECT_NE(result.output.find("\npmap "), std::string::npos) << result.output;
  EXPECT_NE(result.output.find(usable ? "an engine can run here" : "no engine can run here"),
            std::string::npos);
}

TEST(Command, doctor_json_is_json) {
  const auto result = run_program("holdfast", "doctor --json");
  const auto json = nlohmann::json::parse(result.output, nullptr, false);
  ASSERT_FALSE(json.is_discarded()) << result.output;
  EXPECT_EQ(json["usable"].get<bool>(), result.status == 0);
  EXPECT_EQ(json["run_usable"].get<bool>(), !json["findings"]["run"]["missing"].get<bool>());
}

TEST(Command, wrong_usage_exits_with_2_and_help_with_0) {
  EXPECT_EQ(run_program("holdfast", "").status, 2);
  EXPECT_EQ(run_program("holdfast", "doctor --no-such-flag").status, 2);
  EXPECT_EQ(run_program("holdfast", "surgeon").status, 2);
  const auto help = run_program("holdfast", "--help");
  EXPECT_EQ(help.status, 0);
  EXPECT_NE(help.output.find("doctor"), std::string::npos);
}

TEST(Command, version_is_that_of_the_project) {
  const auto result = run_program("holdfast", "--version");
  EXPECT_EQ(result.status, 0);
  ASSERT_TRUE(result.output.starts_with("holdfast ")) << result.output;
  const std::string version = result.output.substr(9, result.output.size() - 10);
  const std::string source = __FILE__;  // tests/cli/doctor_test.cc
  std::ifstream cmake(source.substr(0, source.rfind("tests/")) + "CMakeLists.txt");
  std::stringstream text;
  text << cmake.rdbuf();
  EXPECT_NE(text.str().find("project(Holdfast VERSION " + version + " "), std::string::npos);
}

}  // namespace
}  // namespace holdfast::cli
