// How much memory this process may have: the machine's, or the container's where that is less.
#pragma once

#include <cstdint>
#include <string>

namespace holdfast::sys::real {

inline constexpr std::uint64_t kNoLimit = ~std::uint64_t{0};

// The least memory limit on the way from this process's control group to the root, of cgroup v2
// (memory.max) and v1 (memory.limit_in_bytes); kNoLimit if there is none.
// membership: the text of /proc/self/cgroup; mount: where the hierarchies are ("/sys/fs/cgroup").
// Parameters, so that tests can give their own. Task context (allocates).
[[nodiscard]] std::uint64_t cgroup_memory_limit(const std::string& membership,
                                                const std::string& mount);

// The limit of this process. Task context.
[[nodiscard]] std::uint64_t cgroup_memory_limit();

// The memory of the machine itself. Any context.
[[nodiscard]] std::uint64_t physical_memory_bytes() noexcept;

}  // namespace holdfast::sys::real
