// The `holdfast` command. Each flag is defined once, here.
//
// Exit status: 0 success, 1 the answer is no (doctor: no engine can run; grab: frames were lost or
// the source failed), 2 wrong usage.
#include <CLI/CLI.hpp>
#include <cstdio>

#include "cli/doctor.h"
#include "cli/grab.h"

namespace {

constexpr int kNo = 1;
constexpr int kUsage = 2;

int doctor(bool json) {
  const auto diagnosis = holdfast::cli::diagnose(holdfast::sys::probe_capabilities());
  const std::string report = json ? as_json(diagnosis) : as_text(diagnosis);
  std::fputs(report.c_str(), stdout);
  return diagnosis.usable ? 0 : kNo;
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("Holdfast: memory beyond RAM, in user space.", "holdfast");
  app.set_version_flag("--version", "holdfast " HOLDFAST_VERSION);
  app.require_subcommand(1);

  bool json = false;
  CLI::App* const doctor_command =
      app.add_subcommand("doctor", "Say what this machine allows and what to do about the rest");
  doctor_command->add_flag("--json", json, "print one JSON object");

  holdfast::cli::GrabCommand grab;
  CLI::App* const grab_command =
      app.add_subcommand("grab", "Record a stream of raw frames through a ring larger than memory");
  holdfast::cli::declare(*grab_command, grab);

  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : kUsage;
  }
  if (*doctor_command) return doctor(json);
  if (*grab_command) return holdfast::cli::run(grab);
  return kUsage;
}
