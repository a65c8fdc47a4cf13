// Facade of capture/: making a frame grabber on a machine and a stream of one's choice. What it
// offers is the public holdfast::Capture (holdfast/capture.h).
//
// It knows the engine by its public interface alone, and fills buffers by aio/.
#pragma once

#include <memory>

#include "holdfast/capture.h"
#include "sys/sys.h"

namespace holdfast::capture {

// As Capture::open, on `machine`, which is the engine's, from an open stream.
[[nodiscard]] Expected<std::unique_ptr<Capture>> create_on(sys::Machine& machine, Engine& engine,
                                                           sys::Stream stream,
                                                           const CaptureOptions& options);

}  // namespace holdfast::capture
