// What `holdfast run` needs of the machine: asked for once, before anything is started, by the
// command itself, by --explain and by `holdfast doctor` (which use run.h).
#pragma once

#include <string>

#include "run/run.h"

namespace holdfast::run {

// The first need that is not met, what is there instead, and the remedy, in one line; empty: all
// are met.
[[nodiscard]] std::string refusal(const Needs& needs);

}  // namespace holdfast::run
