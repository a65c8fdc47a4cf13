#include "sync/context.h"

#include <utility>

#include "holdfast/context.h"

namespace holdfast::sync {
namespace {

// initial-exec and constant-initialised: a signal handler that is a thread's first visitor here
// must neither allocate its storage nor run a constructor.
[[gnu::tls_model("initial-exec")]] constinit thread_local ThreadContext own_context;
[[gnu::tls_model("initial-exec")]] constinit thread_local ThreadContext* override_context = nullptr;

}  // namespace

ThreadContext& this_thread() noexcept {
  return override_context == nullptr ? own_context : *override_context;
}

ThreadContext* swap_thread_context(ThreadContext* context) noexcept {
  return std::exchange(override_context, context);
}

Error wrong_context(const char* doing) noexcept {
  return {.code = Errc::interrupt_context,
          .doing = doing,
          .remedy = "call it in task context, or hand it to Engine::defer"};
}

Expected<void> check_task_context(const char* doing) noexcept {
  if (!in_interrupt()) return {};
  return fail(wrong_context(doing));
}

}  // namespace holdfast::sync

namespace holdfast {

InterruptScope::InterruptScope() noexcept {
  ++sync::this_thread().interrupt_depth;
  std::atomic_signal_fence(std::memory_order_seq_cst);
}

InterruptScope::~InterruptScope() {
  std::atomic_signal_fence(std::memory_order_seq_cst);
  --sync::this_thread().interrupt_depth;
}

bool in_interrupt_context() noexcept { return sync::in_interrupt(); }

}  // namespace holdfast
