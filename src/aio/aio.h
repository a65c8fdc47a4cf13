// Facade of aio/: making a queue of asynchronous transfers on a machine of one's choice. What it
// offers is the public holdfast::Aio (holdfast/aio.h).
//
//   submit ──▶ validate ──▶ take places ──▶ pin buffers ──▶ sys::AsyncIo
//                                                               │
//   free place ◀── unpin ◀── callback (interrupt context) ◀── drain
//
// It knows the engine by its public interface alone: pins are all that it needs of it.
#pragma once

#include <memory>

#include "holdfast/aio.h"
#include "sys/sys.h"

namespace holdfast::aio {

// As Aio::create, on `machine`, which is the engine's.
[[nodiscard]] Expected<std::unique_ptr<Aio>> create_on(sys::Machine& machine, Engine& engine,
                                                       const AioOptions& options);

}  // namespace holdfast::aio
