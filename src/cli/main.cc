// The `holdfast` command. Each flag is defined once, here.
//
// Exit status: 0 success, 1 the answer is no (doctor: no engine can run; image: not sound, or not
// whole; grab: frames were lost or the source failed; far: the pool cannot be reached; journal: it
// cannot be used), 2 wrong usage.
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cstdio>

#include "cli/doctor.h"
#include "cli/far_command.h"
#include "cli/grab.h"
#include "cli/image_command.h"
#include "cli/image_pool_command.h"
#include "cli/journal_command.h"
#include "cli/manual.h"
#include "cli/run_command.h"
#include "run/run.h"

namespace {

constexpr int kNo = 1;
constexpr int kUsage = 2;

int doctor(bool json) {
  auto diagnosis = holdfast::cli::diagnose(holdfast::sys::probe_capabilities());
  holdfast::cli::add_run(diagnosis, holdfast::run::probe_needs());
  const std::string report = json ? as_json(diagnosis) : as_text(diagnosis);
  std::fputs(report.c_str(), stdout);
  return diagnosis.usable ? 0 : kNo;
}

// `holdfast image ...` as it was asked.
struct ImageFlags {
  std::string path;
  std::vector<std::string> bases;
  bool json = false;
  bool alone = false;
};

int print_chain(const holdfast::Expected<holdfast::cli::ImageChain>& chain,
                const ImageFlags& flags) {
  if (!chain) {
    std::fprintf(stderr, "%s: %s\n", flags.path.c_str(), chain.error().message().c_str());
    return kNo;
  }
  std::fputs((flags.json ? as_json(*chain) : as_text(*chain)).c_str(), stdout);
  return chain->problem.empty() ? 0 : kNo;
}

int image_info(const ImageFlags& flags) {
  return print_chain(holdfast::cli::describe_image(flags.path, flags.bases), flags);
}

int image_verify(const ImageFlags& flags) {
  holdfast::cli::ProgressLine progress;
  if (::isatty(STDERR_FILENO) != 0) {
    progress = [](std::uint64_t bytes, std::uint64_t all) {
      std::fprintf(stderr, "\r%3u %%", static_cast<unsigned>(bytes * 100 / all));
    };
  }
  const auto chain = holdfast::cli::verify_image(flags.path, flags.bases, flags.alone, progress);
  if (progress) std::fputs("\r     \r", stderr);
  const int status = print_chain(chain, flags);
  if (status == 0 && !flags.json) std::puts("sound: every byte was read and proved");
  return status;
}

// Defines `holdfast image`; returns its commands.
struct ImageCommands {
  CLI::App* info;
  CLI::App* verify;
};
ImageCommands add_image_commands(CLI::App& app, ImageFlags& flags,
                                 holdfast::cli::ImagePoolCommand& pool) {
  CLI::App* const command =
      app.add_subcommand("image", "Look at memory images, in files and in pools of Ceph");
  declare(*command, pool);
  command->require_subcommand(1);
  const ImageCommands commands{
      command->add_subcommand("info", "Say what an image holds, and what it is based on"),
      command->add_subcommand("verify", "Read an image and its bases, and prove every byte")};
  for (CLI::App* const one : {commands.info, commands.verify}) {
    one->add_option("FILE", flags.path, "the image, or rados:[USER@]POOL[/NAMESPACE]/NAME[@CONF]")
        ->required();
    one->add_option("--base", flags.bases,
                    "where its bases may be; else they are looked for beside it");
    one->add_flag("--json", flags.json, "print one JSON object");
  }
  commands.verify->add_flag("--alone", flags.alone, "this file only, not its bases");
  return commands;
}

// `holdfast man` and `holdfast completion`: what the build installs. Not shown in the help.
struct ManualCommands {
  CLI::App* man;
  CLI::App* completion;
  std::string page;   // "run"; empty: of the whole command
  std::string shell;  // "bash"
};
void add_manual_commands(CLI::App& app, ManualCommands& commands) {
  commands.man = app.add_subcommand("man", "Print a man page")->group("");
  commands.man->add_option("COMMAND", commands.page, "of this command");
  commands.completion = app.add_subcommand("completion", "Print shell completion")->group("");
  commands.completion->add_option("SHELL", commands.shell, "the shell")
      ->required()
      ->check(CLI::IsMember({"bash"}));
}

int print_page(const CLI::App& app, const std::string& name) {
  const CLI::App* shown = &app;
  if (!name.empty()) {
    const auto named = app.get_subcommands(
        [&](const CLI::App* one) { return one->get_name() == name && !one->get_group().empty(); });
    if (named.empty()) {
      std::fprintf(stderr, "holdfast man: there is no command '%s'\n", name.c_str());
      return kUsage;
    }
    shown = named.front();
  }
  std::fputs(holdfast::cli::man_page(*shown, HOLDFAST_VERSION).c_str(), stdout);
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("Holdfast: memory beyond RAM, in user space.", "holdfast");
  app.set_version_flag("--version", "holdfast " HOLDFAST_VERSION);
  app.require_subcommand(1);
  app.footer("\nSee also:\n  holdfast-run(1)");

  bool json = false;
  CLI::App* const doctor_command =
      app.add_subcommand("doctor", "Say what this machine allows and what to do about the rest");
  doctor_command->add_flag("--json", json, "print one JSON object");

  ImageFlags image_flags;
  holdfast::cli::ImagePoolCommand image_pool;
  const ImageCommands image_commands = add_image_commands(app, image_flags, image_pool);
  holdfast::cli::GrabCommand grab;
  CLI::App* const grab_command =
      app.add_subcommand("grab", "Record a stream of raw frames through a ring larger than memory");
  holdfast::cli::declare(*grab_command, grab);

  holdfast::cli::RunCommand run_command;
  CLI::App* const run_app =
      app.add_subcommand("run", "Run any program, with all that it starts, under a memory budget");
  holdfast::cli::declare(*run_app, run_command);

  holdfast::cli::FarCommand far_command;
  CLI::App* const far_app =
      app.add_subcommand("far", "Look after the far memory that programs keep in a pool of Ceph");
  holdfast::cli::declare(*far_app, far_command);

  holdfast::cli::JournalCommand journal;
  CLI::App* const journal_app =
      app.add_subcommand("journal", "Say what the journal of a file with commits holds");
  holdfast::cli::declare(*journal_app, journal);

  ManualCommands manual{};
  add_manual_commands(app, manual);

  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : kUsage;
  }
  if (*doctor_command) return doctor(json);
  if (*image_commands.info) return image_info(image_flags);
  if (*image_commands.verify) return image_verify(image_flags);
  if (*image_pool.list || *image_pool.remove) return holdfast::cli::run(image_pool);
  if (*run_app) return holdfast::cli::run(run_command);
  if (*far_app) return holdfast::cli::run(far_command);
  if (*journal_app) return holdfast::cli::run(journal);
  if (*manual.man) return print_page(app, manual.page);
  if (*manual.completion) {
    std::fputs(holdfast::cli::bash_completion(app).c_str(), stdout);
    return 0;
  }
  if (*grab_command) return holdfast::cli::run(grab);
  return kUsage;
}
