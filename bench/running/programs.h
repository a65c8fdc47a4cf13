// The programs that run/* measures: what is run, on what input, and how much memory it is given.
//
// Every one of them prints the same whenever it is run, so that the hash of its output tells
// whether it has read back what it wrote.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "comparison.h"
#include "running/timed_run.h"
#include "scene.h"

namespace holdfast::bench {

struct BenchProgram {
  std::string name;
  std::string about;               // what it does, as part of a sentence
  std::uint64_t memory_bytes = 0;  // that it wants
  std::uint64_t budget_bytes = 0;  // that it gets
  double target_zram = 1;
  double target_file = 1;
  // Its command with input of 1 GiB, divided by the run's scale. Skipped where it is not installed.
  Result<ProgramCommand> (*command)(const Run& run, Medium medium) = nullptr;
};

[[nodiscard]] const std::vector<BenchProgram>& bench_programs();

// The program beside this one that the same build has made; skipped if it is not there.
[[nodiscard]] Result<std::string> built_program(const std::string& name);

// A file of `bytes` of random lines, the same for the same `bytes`: a random key, then words.
[[nodiscard]] Result<std::shared_ptr<MemoryFile>> random_lines(std::uint64_t bytes);

}  // namespace holdfast::bench
