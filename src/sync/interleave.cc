#include "sync/interleave.h"

namespace holdfast::sync {
namespace {

[[gnu::tls_model("initial-exec")]] constinit thread_local InterleaveHook thread_hook = nullptr;

}  // namespace

void set_interleave_hook(InterleaveHook hook) noexcept { thread_hook = hook; }

void run_interleave_hook() noexcept {
  if (thread_hook != nullptr) thread_hook();
}

}  // namespace holdfast::sync
