// How many CPUs there are.
#pragma once

#include <cstdint>

namespace holdfast::sys::real {

// CPUs that the machine could ever have: current CPU numbers are below it. Any context.
[[nodiscard]] std::uint32_t configured_cpus() noexcept;
// CPUs that this thread may run on now, at least 1.
[[nodiscard]] std::uint32_t usable_cpus() noexcept;

}  // namespace holdfast::sys::real
