// Interleaving points: places in lock-free protocols where another thread may come between. In
// debug and sanitizer builds the simulated machine switches threads there by seed; in release they
// are nothing.
#pragma once

namespace holdfast::sync {

using InterleaveHook = void (*)() noexcept;

// The hook of the calling thread; null (the default) does nothing. For the simulated machine.
void set_interleave_hook(InterleaveHook hook) noexcept;
void run_interleave_hook() noexcept;

}  // namespace holdfast::sync

#if defined(HOLDFAST_DEBUG)
#define HF_INTERLEAVE() ::holdfast::sync::run_interleave_hook()
#else
#define HF_INTERLEAVE() ((void)0)
#endif
