#include "sys/real/async_io.h"

#include "sys/real/ring_async.h"
#include "sys/real/thread_async.h"

namespace holdfast::sys::real {

Expected<std::unique_ptr<AsyncIo>> open_real_async_io(const AsyncIoOptions& options) {
  if (options.backend != AsyncBackend::threads) {
    auto ring = RingAsync::open(options);
    if (ring || options.backend == AsyncBackend::ring) return ring;
  }
  return ThreadAsync::open(options);
}

}  // namespace holdfast::sys::real
