#include "cli/far_command.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "sys/sys.h"

namespace holdfast::cli {
namespace {

constexpr int kNo = 1;
constexpr int kUsage = 2;
constexpr std::uint64_t kWait = 30'000'000'000;  // ns

constexpr const char* kFooter = R"(
Description:
  A program with far memory (--swap rados:POOL) keeps sealed pages in a pool of Ceph, under a random
  id and a lock that it renews. They go with it. What a program leaves that was killed, or whose
  machine has died, is found and removed here, and by nothing else: `list` says what there is, `gc`
  removes what nobody holds the lock of. A lock outlives its program by a minute at most.

Examples:
  holdfast far list jobs
  holdfast far gc jobs@/etc/ceph/other.conf --user jobs)";

std::string size_text(std::uint64_t bytes) {
  return fmt::format("{:.1f} MiB", static_cast<double>(bytes) / (1 << 20));
}

int report(const Error& error) {
  std::fprintf(stderr, "holdfast: far: %s\n", error.message().c_str());
  return kNo;
}

void print_line(const sys::FarSession& session) {
  fmt::print("{}  {}  {:>7} objects  {:>12}  {}\n", session.id, session.alive ? "alive" : "dead ",
             session.objects, size_text(session.bytes),
             (session.owner.empty() ? "(its owner is not known)" : session.owner) +
                 (session.image ? ", an image that was not finished" : ""));
}

nlohmann::json as_json(const sys::FarSession& session) {
  return {{"id", session.id},           {"alive", session.alive}, {"image", session.image},
          {"objects", session.objects}, {"bytes", session.bytes}, {"owner", session.owner}};
}

int list(const std::vector<sys::FarSession>& all, bool json) {
  nlohmann::json array = nlohmann::json::array();
  for (const sys::FarSession& session : all) {
    if (json) {
      array.push_back(as_json(session));
    } else {
      print_line(session);
    }
  }
  if (json) fmt::print("{}\n", array.dump());
  return 0;
}

// Removes those that are dead, or those that were named.
int collect(const std::vector<sys::FarSession>& all, const FarCommand& command,
            const sys::ObjectStoreOptions& options) {
  std::vector<std::string> ids = command.sessions;
  if (ids.empty()) {
    for (const sys::FarSession& session : all) {
      if (!session.alive) ids.push_back(session.id);
    }
  }
  int status = 0;
  for (const std::string& id : ids) {
    const auto removed = sys::remove_far_session(options, id);
    if (!removed) {
      std::fprintf(stderr, "holdfast: far: %s: %s\n", id.c_str(),
                   removed.error().message().c_str());
      status = kNo;
    } else if (!command.json) {
      fmt::print("removed {}: {} objects, {}\n", id, removed->objects, size_text(removed->bytes));
    } else {
      fmt::print("{}\n", as_json(*removed).dump());
    }
  }
  return status;
}

}  // namespace

void declare(CLI::App& app, FarCommand& command) {
  app.require_subcommand(1);
  app.footer(kFooter);
  command.list = app.add_subcommand("list", "Say which engines keep memory in a pool");
  command.gc = app.add_subcommand("gc", "Remove what engines left there that are dead");
  for (CLI::App* const one : {command.list, command.gc}) {
    one->add_option("POOL", command.pool, "as for --swap: POOL[/NAMESPACE][@CONF]")->required();
    one->add_option("--user", command.user, "the user of the cluster (cephx)")
        ->capture_default_str();
    one->add_flag("--json", command.json, "print JSON");
  }
  command.gc->add_option("SESSION", command.sessions, "only these, by the ids that list tells");
}

int run(const FarCommand& command) {
  auto options = sys::parse_pool(command.pool);
  if (!options) {
    std::fprintf(stderr, "holdfast: far: %s\n", options.error().c_str());
    return kUsage;
  }
  options->user = command.user;
  options->wait_ns = kWait;
  const auto all = sys::list_far_sessions(*options);
  if (!all) return report(all.error());
  return *command.list ? list(*all, command.json) : collect(*all, command, *options);
}

}  // namespace holdfast::cli
