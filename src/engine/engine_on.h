// Making an engine on a machine of one's choice: the real one, or a simulated one in tests.
#pragma once

#include <memory>

#include "holdfast/engine.h"
#include "sys/sys.h"

namespace holdfast::engine {

// As Engine::create, on `machine`, which outlives the engine.
[[nodiscard]] Expected<std::unique_ptr<Engine>> create_on(sys::Machine& machine,
                                                          const Options& options);

}  // namespace holdfast::engine
