// A fiber: a stack and a place to go on from. The threads of the simulated machine are fibers on
// the one OS thread that calls run(), so that a seed decides every switch.
//
// Who owns what: a Fiber owns its stack, taken from a pool that the process keeps (10^5 machines
// reuse a handful of stacks). A default-made Fiber is the OS thread's own stack: the root.
//
// Flow: 1. start() gives the fiber a stack and an entry; 2. switch_to() leaves one and goes on in
// the other; 3. the entry never returns: its last act is switch_to(..., Leaving::for_good).
//
// The switch saves what the x86-64 System V ABI says a call preserves, and makes no system call.
// It tells AddressSanitizer and ThreadSanitizer what it does.
#pragma once

#include <cstddef>
#include <cstdint>

namespace holdfast::sys {

enum class Leaving : std::uint8_t { for_now, for_good };

class Fiber {
 public:
  using Entry = void (*)(void* argument);

  Fiber() noexcept = default;
  ~Fiber();
  Fiber(const Fiber&) = delete;
  Fiber& operator=(const Fiber&) = delete;

  // Takes a stack; the first switch to the fiber calls entry(argument). The entry must not return.
  void start(Entry entry, void* argument) noexcept;
  // Goes on in `to`; returns when somebody switches back here (never, if for good).
  void switch_to(Fiber& to, Leaving leaving) noexcept;
  // Gives the stack back; whatever stood on it is forgotten. Not from the fiber itself.
  void drop_stack() noexcept;

 private:
  static void enter() noexcept;
  void arrive() noexcept;  // runs first thing on this fiber's stack after a switch to it

  void* saved_stack_pointer_ = nullptr;
  std::byte* stack_ = nullptr;    // from the pool; null: root
  const void* bottom_ = nullptr;  // for AddressSanitizer: the stack's lowest address ...
  std::size_t stack_bytes_ = 0;   // ... and its size
  void* fake_stack_ = nullptr;    // AddressSanitizer's own
  void* tsan_fiber_ = nullptr;    // ThreadSanitizer's own
  Entry entry_ = nullptr;
  void* argument_ = nullptr;
};

}  // namespace holdfast::sys
