// A memory cgroup of our own: what confines the kernel's side to its share of memory.
//
// Works with the v1 memory controller (limit_in_bytes, swappiness 100) and with v2 (memory.max).
// Skipped where there is no memory controller or where we may not make a cgroup.
//
// Who owns what: owns the cgroup's directory; its processes must have ended before the destructor,
// which removes it.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <memory>
#include <string>

#include "trouble.h"

namespace holdfast::bench {

class MemoryCgroup {
 public:
  [[nodiscard]] static Result<std::unique_ptr<MemoryCgroup>> create(std::uint64_t limit_bytes);
  ~MemoryCgroup();
  MemoryCgroup(const MemoryCgroup&) = delete;
  MemoryCgroup& operator=(const MemoryCgroup&) = delete;

  // Moves a process in; memory that it touches from now on is counted.
  [[nodiscard]] Result<void> add(pid_t process);
  // How many of its processes the kernel has ended so far because their memory could not be had.
  [[nodiscard]] std::uint64_t oom_kills() const;
  // "cgroup v1, memory.limit_in_bytes 536870912, swappiness 100"
  [[nodiscard]] const std::string& description() const { return description_; }

 private:
  MemoryCgroup(std::string directory, std::string description)
      : directory_(std::move(directory)), description_(std::move(description)) {}

  std::string directory_;
  std::string description_;
};

}  // namespace holdfast::bench
