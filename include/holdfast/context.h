// Contexts: which code may call what.
//
//   task       a thread's ordinary code, and the page faults that it takes: everything
//   interrupt  an asynchronous signal handler, and a completion callback: what says "any context"
//
// The engine knows interrupt context by itself where a handler has interrupted the engine, and in
// the callbacks that it makes. A handler that has interrupted ordinary code cannot be told from
// that code: it says so itself, with an InterruptScope, and a task-only function that it calls is
// then refused with Errc::interrupt_context wherever it came in between.
//
//     void on_timer(int) {
//       const holdfast::InterruptScope interrupt;
//       pin.reset();                        // any context
//       engine->defer(&tidy_up, nullptr);   // what needs task context is handed over
//     }
#pragma once

namespace holdfast {

// Marks the calling thread as in interrupt context while it lives. Scopes nest. Any context;
// async-signal-safe.
class InterruptScope {
 public:
  InterruptScope() noexcept;
  ~InterruptScope();
  InterruptScope(const InterruptScope&) = delete;
  InterruptScope& operator=(const InterruptScope&) = delete;
};

// True if a task-only function would be refused now. Any context.
[[nodiscard]] bool in_interrupt_context() noexcept;

}  // namespace holdfast

// Which contexts may call a function, beside its declaration. HF_TASK_ONLY: called from interrupt
// context it changes nothing and says Errc::interrupt_context (or what stands in its comment where
// it returns no error). HF_ANY_CONTEXT: lock-free and async-signal-safe. tools/check_style sees to
// it that every function of the public API that works on the engine carries one of them.
#if defined(__clang__)
#define HF_TASK_ONLY [[clang::annotate("holdfast: task context only")]]
#define HF_ANY_CONTEXT [[clang::annotate("holdfast: any context")]]
#else
#define HF_TASK_ONLY
#define HF_ANY_CONTEXT
#endif
