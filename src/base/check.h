// Checks by cost. HF_CHECK: always on, for what must never be wrong. HF_DCHECK: O(1), debug and
// sanitizer builds. A failed check is a bug of ours or of the caller's program, never of the
// machine: a machine's error is returned (holdfast/error.h).
//
// Context: any. A failing check writes one line with system calls only, and aborts.
#pragma once

#include <cstdint>

namespace holdfast::base {

// Says what failed and ends the process. `a` and `b` are the values at hand. Async-signal-safe.
[[noreturn]] void check_failed(const char* file, int line, const char* expression, std::uint64_t a,
                               std::uint64_t b) noexcept;

}  // namespace holdfast::base

// For what must cost no call, or must see its caller's return address, in every build.
#define HF_ALWAYS_INLINE [[gnu::always_inline]] inline

#define HF_CHECK(expression) \
  ((expression) ? (void)0 : ::holdfast::base::check_failed(__FILE__, __LINE__, #expression, 0, 0))

// The same with two numbers that tell the story.
#define HF_CHECK2(expression, a, b)                                               \
  ((expression) ? (void)0                                                         \
                : ::holdfast::base::check_failed(__FILE__, __LINE__, #expression, \
                                                 static_cast<std::uint64_t>(a),   \
                                                 static_cast<std::uint64_t>(b)))

#if defined(HOLDFAST_DEBUG)
#define HF_DCHECK(expression) HF_CHECK(expression)
#define HF_DCHECK2(expression, a, b) HF_CHECK2(expression, a, b)
inline constexpr bool kHoldfastDebug = true;
#else
#define HF_DCHECK(expression) ((void)sizeof(!(expression)))
#define HF_DCHECK2(expression, a, b) ((void)sizeof(!(expression)), (void)sizeof(a), (void)sizeof(b))
inline constexpr bool kHoldfastDebug = false;
#endif
