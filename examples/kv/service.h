// What a command may use, and what it counts.
#pragma once

#include <cstdint>
#include <ctime>
#include <string>

#include "database.h"
#include "holdfast/holdfast.h"
#include "persistence.h"
#include "reserve.h"

namespace kv {

// From the command line.
struct Settings {
  std::uint64_t memory = 64 << 20;
  std::uint64_t capacity = 0;    // of keys, values and table; 0: what swap can hold
  std::uint64_t swap_limit = 0;  // bytes of the swap file; 0: no limit
  std::string swap_directory = "/var/tmp";
  std::uint16_t port = 6379;
  std::string address = "127.0.0.1";
  std::string directory;    // of the image; empty: nothing is saved
  std::string unix_socket;  // instead of the port, if it is not empty
};

struct Counters {
  std::uint64_t clients = 0;  // now
  std::uint64_t connections = 0;
  std::uint64_t rejected = 0;  // connections beyond the limit
  std::uint64_t commands = 0;
  std::time_t started = std::time(nullptr);
};

struct Service {
  const Settings& settings;
  holdfast::Engine& engine;
  Database& database;
  Persistence& persistence;
  Reserve& reserve;
  Counters counters = {};
};

}  // namespace kv
