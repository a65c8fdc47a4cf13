// Why a comparison gave no figure: it may not run here, it failed, or somebody pressed Ctrl-C.
//
// What it is for: the benchmark sets up cgroups, swap devices and processes; each step returns a
// Result, so that every return path runs the destructors that take down what was set up so far.
#pragma once

#include <expected>
#include <string>
#include <string_view>

namespace holdfast::bench {

enum class TroubleKind : unsigned char {
  skipped,      // this machine does not have it or does not allow it: no figure, no failure
  failed,       // it should have worked
  interrupted,  // SIGINT, SIGTERM or SIGHUP: take everything down and leave
};

struct Trouble {
  TroubleKind kind = TroubleKind::failed;
  std::string why;
};

template <class T>
using Result = std::expected<T, Trouble>;

[[nodiscard]] std::unexpected<Trouble> skip(std::string why);
[[nodiscard]] std::unexpected<Trouble> failure(std::string why);
// From errno: what the system forbids or lacks (EPERM, EACCES, ENOENT, EROFS, ENOSYS, ENODEV) is
// skipped, anything else failed.
[[nodiscard]] std::unexpected<Trouble> system_trouble(std::string_view doing);

}  // namespace holdfast::bench
