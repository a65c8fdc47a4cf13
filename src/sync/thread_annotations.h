// Names for clang's thread-safety analysis; nothing under other compilers. Built as errors in the
// clang preset: a field names its lock, a function that needs a lock says so.
#pragma once

#if defined(__clang__)
#define HF_TSA(x) __attribute__((x))
#else
#define HF_TSA(x)
#endif

#define HF_CAPABILITY(name) HF_TSA(capability(name))  // this class is a lock
#define HF_SCOPED_CAPABILITY HF_TSA(scoped_lockable)  // this class holds a lock while it lives
#define HF_GUARDED_BY(lock) HF_TSA(guarded_by(lock))  // this field needs the lock
#define HF_REQUIRES(...) HF_TSA(requires_capability(__VA_ARGS__))  // callers hold the lock
#define HF_EXCLUDES(...) HF_TSA(locks_excluded(__VA_ARGS__))       // callers do not hold it
#define HF_ACQUIRE(...) HF_TSA(acquire_capability(__VA_ARGS__))
#define HF_RELEASE(...) HF_TSA(release_capability(__VA_ARGS__))
#define HF_TRY_ACQUIRE(...) HF_TSA(try_acquire_capability(__VA_ARGS__))
#define HF_NO_ANALYSIS HF_TSA(no_thread_safety_analysis)  // with the reason beside it, always
