#include "cli/run_command.h"

#include <CLI/CLI.hpp>
#include <cstdio>
#include <expected>

#include "cli/size.h"
#include "run/run.h"

namespace holdfast::cli {
namespace {

// For --help and the man page alike (cli/manual.h).
constexpr const char* kFooter = R"(
Description:
  The program, with all that it starts, keeps at most --memory resident.
  What does not fit is compressed, or written to a file without a name, and comes back when touched.
  No change to the program and no kernel swap; what fits runs at the kernel's own speed.
  Programs that are statically linked or set-uid run unmanaged, and a line says so.

Exit status:
  0-255  that of the program; a program that a signal ended looks so
  2  wrong usage, or this machine gives no userfaultfd that will do
  124  no swap tier had room for longer than --swap-full-wait
  125  the pager was killed or could not go on: the program was ended
  126  the program cannot be executed
  127  the program is not there

Examples:
  holdfast run --memory 512M -- python3 job.py
  holdfast run --memory 2G --swap ram:zstd --swap file:/data:64G --report out.html -- ./simulate
  holdfast run --memory 2G --swap ram --swap rados:jobs@/etc/ceph/ceph.conf -- ./simulate
  holdfast run --memory 2G --record steps -- ./simulate
  holdfast run --memory 2G --replay steps -- ./simulate
  holdfast run --explain -- ./simulate
  holdfast run --explain --pid 4711

See also:
  holdfast(1))";

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

Tier far_tier(const std::string& rest) {
  swap::TierOptions tier{.kind = swap::TierKind::rados};
  auto pool = sys::parse_pool(rest);
  if (!pool) return std::unexpected(pool.error());
  tier.far = std::move(*pool);
  return tier;
}

Tier parse_tier(const std::string& text) {
  const std::size_t colon = text.find(':');
  const std::string kind = text.substr(0, colon);
  const std::string rest = colon == std::string::npos ? "" : text.substr(colon + 1);
  if (kind == "ram") return ram_tier(rest);
  if (kind == "file") return file_tier(rest);
  if (kind == "rados") return far_tier(rest);
  return std::unexpected("'" + text +
                         "' is no tier: ram, ram:zstd, file:DIR, file:DIR:SIZE or rados:POOL");
}

std::expected<run::RunOptions, std::string> options_of(const RunCommand& command) {
  run::RunOptions options;
  if (command.command.empty()) {
    return std::unexpected("no program: name one after --, as in -- python3 job.py");
  }
  if (command.memory.empty() && !command.explain) {
    return std::unexpected("no --memory: say how much it may have, as in --memory 512M");
  }
  if (!command.memory.empty()) {
    const auto memory = parse_size(command.memory);
    if (!memory) return std::unexpected("--memory " + memory.error());
    options.memory_bytes = *memory;
  }
  for (const std::string& text : command.swap) {
    const Tier tier = parse_tier(text);
    if (!tier) return std::unexpected("--swap " + tier.error());
    options.tiers.push_back(*tier);
    options.tiers.back().far.user = command.far_user;
    options.tiers.back().far.wait_ns = std::uint64_t{command.far_wait_seconds} * 1'000'000'000;
  }
  if (!command.limit_compressed.empty()) {
    const auto limit = parse_size(command.limit_compressed);
    if (!limit) return std::unexpected("--limit-compressed " + limit.error());
    options.compressed_limit_bytes = *limit;
  }
  options.swap_full_wait_seconds = command.swap_full_wait_seconds;
  options.encrypts_files = command.encrypt_swap;
  options.shim = command.shim;
  options.report_path = command.report;
  options.record_path = command.record;
  options.replay_path = command.replay;
  options.quiet = command.quiet;
  options.command = command.command;
  return options;
}

}  // namespace

void declare(CLI::App& app, RunCommand& command) {
  app.add_option("--memory", command.memory,
                 "memory for all its processes, as in 512M: what is resident and anonymous, and "
                 "compressed pages; at least 16M")
      ->type_name("SIZE");
  app.add_option(
         "--swap", command.swap,
         "where to what does not fit goes, in order: ram, ram:zstd, file:DIR, file:DIR:SIZE, "
         "rados:POOL[/NAMESPACE][@CONF] (default: ram, then a file in $TMPDIR or /var/tmp)")
      ->type_name("TIER")
      ->allow_extra_args(false);  // or the -- after it would be the end of its list alone
  app.add_option("--limit-compressed", command.limit_compressed,
                 "most memory for compressed pages (default: half of --memory)")
      ->type_name("SIZE");
  app.add_option("--swap-full-wait", command.swap_full_wait_seconds,
                 "seconds that programs are held when no tier has room, before they are ended")
      ->type_name("SECONDS")
      ->capture_default_str();
  app.add_option(
         "--far-wait", command.far_wait_seconds,
         "seconds that a page is waited for whose pool does not answer, before the programs "
         "are ended")
      ->type_name("SECONDS")
      ->check(CLI::Range(1U, 86400U))
      ->capture_default_str();
  app.add_flag("--encrypt-swap", command.encrypt_swap,
               "encrypt what goes to swap files too (AES-256-GCM; the key stays in memory)");
  app.add_option("--far-user", command.far_user, "the user of the pool's cluster (cephx)")
      ->type_name("NAME")
      ->capture_default_str();
  app.add_option("--report", command.report,
                 "write what happened to this file: a page to look at if its name ends in .html, "
                 "else one JSON object")
      ->type_name("FILE");
  app.add_option("--record", command.record,
                 "record in this file which pages come back in, and in what order, for --replay; "
                 "the program runs without address randomisation")
      ->type_name("FILE");
  app.add_option("--replay", command.replay,
                 "bring pages in ahead by this recording of an earlier run of the program, which "
                 "runs without address randomisation")
      ->type_name("FILE");
  app.add_option("--shim", command.shim, "the library to preload, if not the installed one")
      ->type_name("FILE");
  app.add_flag("--quiet", command.quiet, "no status line on a terminal, no summary at the end");
  auto* const explain = app.add_flag(
      "--explain", command.explain,
      "run nothing: say whether PROGRAM would be managed, under which budget, and why not");
  app.add_option("--pid", command.pid,
                 "with --explain: a process that runs, and which of its mappings could be managed")
      ->type_name("PID")
      ->needs(explain)
      ->check(CLI::PositiveNumber);
  app.add_option("PROGRAM", command.command, "the program and its arguments, after --");
  app.footer(kFooter);
}

int run(const RunCommand& command) {
  if (command.pid != 0) return run::explain_process(command.pid);
  const auto options = options_of(command);
  if (!options) {
    std::fprintf(stderr, "holdfast: run: %s\n", options.error().c_str());
    return run::kExitUsage;
  }
  return command.explain ? run::explain(*options) : run::run(*options);
}

}  // namespace holdfast::cli
