#include "cli/run_command.h"

#include <CLI/CLI.hpp>
#include <cstdio>
#include <expected>

#include "cli/size.h"
#include "run/run.h"

namespace holdfast::cli {
namespace {

using Tier = std::expected<swap::TierOptions, std::string>;

Tier ram_tier(const std::string& rest) {
  swap::TierOptions tier{.kind = swap::TierKind::ram};
  if (rest.empty() || rest == "lz4") return tier;
  if (rest != "zstd") return std::unexpected("'" + rest + "' is no compression: lz4 or zstd");
  tier.compression = swap::Compression::zstd;
  return tier;
}

// DIR, or DIR:SIZE; a directory's own colons are its own as long as no size follows the last.
Tier file_tier(const std::string& rest) {
  swap::TierOptions tier{.kind = swap::TierKind::file, .directory = rest};
  const std::size_t colon = rest.rfind(':');
  if (colon != std::string::npos) {
    if (const auto size = parse_size(rest.substr(colon + 1))) {
      tier.limit_bytes = *size;
      tier.directory = rest.substr(0, colon);
    }
  }
  if (tier.directory.empty()) return std::unexpected("file:DIR needs a directory");
  return tier;
}

Tier parse_tier(const std::string& text) {
  const std::size_t colon = text.find(':');
  const std::string kind = text.substr(0, colon);
  const std::string rest = colon == std::string::npos ? "" : text.substr(colon + 1);
  if (kind == "ram") return ram_tier(rest);
  if (kind == "file") return file_tier(rest);
  return std::unexpected("'" + text + "' is no tier: ram, ram:zstd, file:DIR or file:DIR:SIZE");
}

std::expected<run::RunOptions, std::string> options_of(const RunCommand& command) {
  run::RunOptions options;
  const auto memory = parse_size(command.memory);
  if (!memory) return std::unexpected("--memory " + memory.error());
  options.memory_bytes = *memory;
  for (const std::string& text : command.swap) {
    const Tier tier = parse_tier(text);
    if (!tier) return std::unexpected("--swap " + tier.error());
    options.tiers.push_back(*tier);
  }
  if (!command.limit_compressed.empty()) {
    const auto limit = parse_size(command.limit_compressed);
    if (!limit) return std::unexpected("--limit-compressed " + limit.error());
    options.compressed_limit_bytes = *limit;
  }
  options.swap_full_wait_seconds = command.swap_full_wait_seconds;
  options.shim = command.shim;
  options.report_path = command.report;
  options.quiet = command.quiet;
  options.command = command.command;
  return options;
}

}  // namespace

void declare(CLI::App& app, RunCommand& command) {
  app.add_option("--memory", command.memory, "resident memory of all its processes, as in 512M")
      ->required();
  app.add_option(
         "--swap", command.swap,
         "where to what does not fit goes, in order: ram, ram:zstd, file:DIR, file:DIR:SIZE "
         "(default: ram, then a file in $TMPDIR or /var/tmp)")
      ->allow_extra_args(false);  // or the -- after it would be the end of its list alone
  app.add_option("--limit-compressed", command.limit_compressed,
                 "most memory for compressed pages (default: half of --memory)");
  app.add_option("--swap-full-wait", command.swap_full_wait_seconds,
                 "seconds that programs are held when no tier has room, before they are ended");
  app.add_option("--report", command.report, "write a JSON report to this file");
  app.add_option("--shim", command.shim, "the library to preload, if not the installed one");
  app.add_flag("--quiet", command.quiet, "no summary at the end");
  app.add_option("PROGRAM", command.command, "the program and its arguments, after --")->required();
}

int run(const RunCommand& command) {
  const auto options = options_of(command);
  if (!options) {
    std::fprintf(stderr, "holdfast: run: %s\n", options.error().c_str());
    return run::kExitUsage;
  }
  return run::run(*options);
}

}  // namespace holdfast::cli
