#include "sys/sim/sim_fiber.h"

#include <sys/mman.h>

#include <cstring>
#include <utility>
#include <vector>

#include "base/base.h"

#if defined(__SANITIZE_ADDRESS__)
#define HF_SIM_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define HF_SIM_ASAN 1
#endif
#endif
#if defined(__SANITIZE_THREAD__)
#define HF_SIM_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define HF_SIM_TSAN 1
#endif
#endif

#if defined(HF_SIM_ASAN)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif
#if defined(HF_SIM_TSAN)
#include <sanitizer/tsan_interface.h>
#endif

// Saves the callee-saved registers on the old stack, its top in *save, and goes on where `load`
// was saved. The floating-point control words are the same everywhere and need no saving.
asm(R"(
.text
.globl holdfast_sim_switch_stacks
.hidden holdfast_sim_switch_stacks
.type holdfast_sim_switch_stacks, @function
holdfast_sim_switch_stacks:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size holdfast_sim_switch_stacks, .-holdfast_sim_switch_stacks
)");
extern "C" void holdfast_sim_switch_stacks(void** save, void* load);

namespace holdfast::sys {
namespace {

#if defined(HF_SIM_ASAN) || defined(HF_SIM_TSAN)
constexpr std::size_t kStackBytes = 512 * 1024;  // sanitizers widen every frame
#else
constexpr std::size_t kStackBytes = 128 * 1024;  // a fault served inside a fault, LZ4's 16 KiB
#endif

// Free stacks, each with a guard page below. Never unmapped: the process reuses them.
std::vector<std::byte*>& free_stacks() {
  thread_local auto* stacks = new std::vector<std::byte*>;  // for good: outlives every machine
  return *stacks;
}

std::byte* take_stack() {
  std::vector<std::byte*>& stacks = free_stacks();
  if (!stacks.empty()) {
    std::byte* stack = stacks.back();
    stacks.pop_back();
    return stack;
  }
  void* memory = mmap(nullptr, kStackBytes + kPageSize, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  HF_CHECK(memory != MAP_FAILED);
  HF_CHECK(mprotect(memory, kPageSize, PROT_NONE) == 0);
  return static_cast<std::byte*>(memory) + kPageSize;
}

void give_stack(std::byte* stack) {
#if defined(HF_SIM_ASAN)
  __asan_unpoison_memory_region(stack, kStackBytes);
#endif
  free_stacks().push_back(stack);
}

thread_local Fiber* leaving_fiber = nullptr;   // who switches
thread_local Fiber* arriving_fiber = nullptr;  // to whom

}  // namespace

Fiber::~Fiber() { drop_stack(); }

void Fiber::drop_stack() noexcept {
  if (stack_ != nullptr) give_stack(std::exchange(stack_, nullptr));
#if defined(HF_SIM_TSAN)
  if (entry_ != nullptr && tsan_fiber_ != nullptr) __tsan_destroy_fiber(tsan_fiber_);
  tsan_fiber_ = nullptr;
#endif
}

void Fiber::start(Entry entry, void* argument) noexcept {
  HF_CHECK(stack_ == nullptr && entry != nullptr);
  entry_ = entry;
  argument_ = argument;
  stack_ = take_stack();
  bottom_ = stack_;
  stack_bytes_ = kStackBytes;
  // What the first switch pops: six registers, then enter(); above them a null return address, at
  // which stack walkers end. At enter() the stack is 8 below a multiple of 16, as after a call.
  void* frame[8] = {};
  frame[6] = reinterpret_cast<void*>(&Fiber::enter);
  std::byte* top = stack_ + kStackBytes - sizeof frame;
  std::memcpy(top, frame, sizeof frame);
  saved_stack_pointer_ = top;
#if defined(HF_SIM_TSAN)
  tsan_fiber_ = __tsan_create_fiber(0);
#endif
}

void Fiber::switch_to(Fiber& to, Leaving leaving) noexcept {
  HF_DCHECK(&to != this);
  leaving_fiber = this;
  arriving_fiber = &to;
#if defined(HF_SIM_ASAN)
  __sanitizer_start_switch_fiber(leaving == Leaving::for_good ? nullptr : &fake_stack_, to.bottom_,
                                 to.stack_bytes_);
#endif
#if defined(HF_SIM_TSAN)
  if (tsan_fiber_ == nullptr) tsan_fiber_ = __tsan_get_current_fiber();
  __tsan_switch_to_fiber(to.tsan_fiber_, 0);
#endif
  static_cast<void>(leaving);
  holdfast_sim_switch_stacks(&saved_stack_pointer_, to.saved_stack_pointer_);
  arrive();
}

void Fiber::arrive() noexcept {
#if defined(HF_SIM_ASAN)
  const void* bottom = nullptr;
  std::size_t bytes = 0;
  __sanitizer_finish_switch_fiber(fake_stack_, &bottom, &bytes);
  // The root learns its own stack's place here, when the first fiber arrives from it.
  leaving_fiber->bottom_ = bottom;
  leaving_fiber->stack_bytes_ = bytes;
#endif
}

void Fiber::enter() noexcept {
  Fiber* self = arriving_fiber;
  self->arrive();
  self->entry_(self->argument_);
  HF_CHECK(false);  // an entry leaves for good, it does not return
}

}  // namespace holdfast::sys
