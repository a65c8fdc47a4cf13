// An engine on a simulated machine with a disk: what the tests of file mappings share.
#pragma once

#include <gtest/gtest.h>

#include <cstring>
#include <functional>
#include <memory>
#include <random>
#include <string>

#include "engine/engine_on.h"
#include "holdfast/holdfast.h"
#include "support/seed.h"
#include "sys/sim.h"

namespace holdfast::tests {

using sys::FailureKind;
using sys::Repeat;
using sys::SimDisk;

class FileWorld {
 public:
  static inline const std::string kPath = "/data/file";

  explicit FileWorld(const sys::SimOptions& machine_options = {.seed = 1},
                     std::uint64_t budget_pages = 128)
      : machine(machine_options) {
    options.memory_budget = budget_pages * kPageSize;
    options.window_pages = 8;
    options.on_error = &FileWorld::on_error;
    options.on_error_context = this;
    SwapTier tier;
    tier.limit_bytes = options.memory_budget / 2;
    options.swap = {tier, SwapTier{.kind = SwapTier::Kind::file, .directory = "/tmp"}};
  }
  FileWorld(const FileWorld&) = delete;
  FileWorld& operator=(const FileWorld&) = delete;

  // Runs `body` with an engine, proves the engine consistent, and lets it end.
  void run(const std::function<void(Engine&)>& body) {
    EXPECT_EQ(machine.run([&] {
      auto made = engine::create_on(machine, options);
      ASSERT_TRUE(made) << made.error().message();
      body(**made);
      (void)machine.settle();
      EXPECT_TRUE((*made)->check_all());
    }),
              sys::RunOutcome::finished)
        << machine.report();
  }

  [[nodiscard]] FileMapping map(Engine& engine, const FileOptions& how = {}) {
    auto mapping = map_file(engine, kPath, how);
    EXPECT_TRUE(mapping) << mapping.error().message();
    return mapping ? std::move(*mapping) : FileMapping();
  }
  [[nodiscard]] Errc refusal(Engine& engine, const FileOptions& how,
                             const std::string& path = kPath) {
    const auto mapping = map_file(engine, path, how);
    EXPECT_FALSE(mapping);
    return mapping ? Errc::system : mapping.error().code;
  }

  [[nodiscard]] std::uint64_t word(const FileMapping& mapping, std::uint64_t offset) {
    std::uint64_t value = 0;
    EXPECT_TRUE(machine.load(address(mapping, offset), &value, sizeof value));
    return value;
  }
  void set_word(const FileMapping& mapping, std::uint64_t offset, std::uint64_t value) {
    EXPECT_TRUE(machine.store(address(mapping, offset), &value, sizeof value));
  }
  // Whether a load or store there is served; a refusal leaves its error in `refused`.
  [[nodiscard]] bool can_load(const FileMapping& mapping, std::uint64_t offset) {
    char byte = 0;
    return machine.load(address(mapping, offset), &byte, 1);
  }
  [[nodiscard]] bool can_store(const FileMapping& mapping, std::uint64_t offset) {
    const char byte = 1;
    return machine.store(address(mapping, offset), &byte, 1);
  }
  // A word of the file as it is on the disk, whoever looks.
  [[nodiscard]] std::uint64_t disk_word(std::uint64_t offset) {
    const SimDisk::Bytes bytes = machine.disk().bytes(kPath);
    std::uint64_t value = 0;
    EXPECT_LE(offset + sizeof value, bytes.size());
    std::memcpy(&value, bytes.data() + offset, sizeof value);
    return value;
  }
  // A file of that many bytes: each word is mark(offset).
  void put_file(std::uint64_t bytes) {
    SimDisk::Bytes content(bytes);
    for (std::uint64_t at = 0; at + 8 <= bytes; at += 8) {
      const std::uint64_t value = mark(at);
      std::memcpy(content.data() + at, &value, sizeof value);
    }
    machine.disk().put(kPath, content);
  }
  static std::uint64_t mark(std::uint64_t offset) { return offset * 0x9e3779b97f4a7c15ULL + 1; }
  static Address address(const FileMapping& mapping, std::uint64_t offset) {
    return reinterpret_cast<Address>(mapping.data()) + offset;
  }
  // Lets everything leave memory that can.
  static void push_out(Engine& engine) {
    while (engine.reclaim(64) > 0) {
    }
  }

  sys::SimMachine machine;
  Options options;
  Error refused{};  // of the last load or store that was refused
  int refusals = 0;
  int retries = 0;  // so many of them are told to run again

 private:
  static OnError on_error(const Error& error, std::uintptr_t, void* self) noexcept {
    auto& world = *static_cast<FileWorld*>(self);
    world.refused = error;
    ++world.refusals;
    if (world.retries == 0) return OnError::terminate;
    --world.retries;
    return OnError::retry;
  }
};

}  // namespace holdfast::tests
