// kv: a key-value server whose data may be larger than its memory. It speaks the protocol of
// Redis, so that redis-cli and redis-benchmark drive it.
//
//     kv [--memory 64M] [--dir DIR] [--port 6379] [--bind 127.0.0.1] [--unixsocket PATH]
//
// request_reader, reply       bytes to requests, replies to bytes
// commands                    what each request does
// table, heap, database       keys and values, all in one region of the engine
// connection, server          sockets
// persistence                 BGSAVE, and the start from what it saved
// reserve                     what happens when memory and swap are full
#include <CLI/CLI.hpp>
#include <algorithm>
#include <csignal>
#include <cstdio>

#include "holdfast/holdfast.h"
#include "server.h"

namespace {

int complain(const std::string& what) {
  std::fprintf(stderr, "kv: %s\n", what.c_str());
  return 1;
}

holdfast::Options options_of(const kv::Settings& settings, kv::Reserve& reserve) {
  holdfast::Options options;
  options.memory_budget = settings.memory;
  // Compressed memory first (inside the budget), then a file.
  options.swap = {{.kind = holdfast::SwapTier::Kind::ram},
                  {.kind = holdfast::SwapTier::Kind::file,
                   .limit_bytes = settings.swap_limit,
                   .directory = settings.swap_directory}};
  options.on_error = kv::Reserve::on_error;
  options.on_error_context = &reserve;
  return options;
}

// What is refused beyond this (with -OOM) never gets as far as to fill the swap file: all of it
// fits there twice, as it is and as it was when a BGSAVE began, with some room to move.
std::uint64_t default_capacity(std::uint64_t swap_limit) {
  return swap_limit == 0 ? 64ull << 30 : std::max<std::uint64_t>(1 << 20, swap_limit / 16 * 7);
}

int serve(const kv::Settings& settings, holdfast::Engine& engine, kv::Reserve& reserve) {
  kv::Persistence persistence(engine, settings.directory);
  auto restored = persistence.restore(settings.capacity);
  if (!restored) return complain(restored.error().message());
  auto database = *restored ? kv::Database::open(engine, std::move(**restored))
                            : kv::Database::create(engine, settings.capacity);
  if (!database) return complain(database.error().message());
  kv::Service service{.settings = settings,
                      .engine = engine,
                      .database = **database,
                      .persistence = persistence,
                      .reserve = reserve};
  kv::Server server(service);
  if (const std::string error = server.listen(); !error.empty()) return complain(error);
  std::printf("kv: %s; %llu MiB; %llu keys; ready to accept connections on %s\n",
              engine.description().c_str(), static_cast<unsigned long long>(settings.memory >> 20),
              static_cast<unsigned long long>((*database)->table().count()),
              server.where().c_str());
  std::fflush(stdout);
  const std::string error = server.run();
  return error.empty() ? 0 : complain(error);
}

int run(const kv::Settings& settings) {
  // They are read from a descriptor, in the event loop. Blocked before the engine's threads start,
  // which inherit this.
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGTERM);
  sigaddset(&set, SIGINT);
  sigprocmask(SIG_BLOCK, &set, nullptr);

  kv::Reserve reserve(settings.memory / 8);
  auto engine = holdfast::Engine::create(options_of(settings, reserve));
  if (!engine) return complain(engine.error().message());
  if (const auto kept = reserve.attach(**engine); !kept) return complain(kept.error().message());
  const int status = serve(settings, **engine, reserve);
  reserve.detach();
  return status;
}

}  // namespace

int main(int argc, char** argv) {
  kv::Settings settings;
  CLI::App app("A key-value server for data beyond its memory; speaks the protocol of Redis.");
  const auto size_option = [&](const char* name, std::uint64_t& value, const char* about,
                               const char* usual) {
    app.add_option(name, value, about)->transform(CLI::AsSizeValue(false))->default_str(usual);
  };
  size_option("--memory", settings.memory, "memory budget: bytes, or with K, M or G", "64M");
  size_option("--capacity", settings.capacity,
              "the most that keys, values and table may take, resident or not (0: what swap holds)",
              "0");
  size_option("--swap-limit", settings.swap_limit, "the most in the swap file (0: no limit)", "0");
  app.add_option("--swap-dir", settings.swap_directory, "where the swap file is")
      ->capture_default_str();
  app.add_option("--dir", settings.directory,
                 "where SAVE and BGSAVE keep the data, and the start finds it (default: nowhere)")
      ->check(CLI::ExistingDirectory);
  app.add_option("--port", settings.port, "TCP port; 0: any that is free")->capture_default_str();
  app.add_option("--bind", settings.address, "IPv4 address to listen on")->capture_default_str();
  app.add_option("--unixsocket", settings.unix_socket, "listen on this path, not on a port");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  }
  if (settings.capacity == 0) settings.capacity = default_capacity(settings.swap_limit);
  return run(settings);
}
