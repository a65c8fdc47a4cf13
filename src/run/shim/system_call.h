// Raw system calls of the shim: no libc underneath, errno untouched, results as the kernel gives
// them (negative errno).
#pragma once

#include <asm/unistd.h>
#include <linux/ioctl.h>

namespace holdfast::run::shim {

inline long system_call(long number, long a = 0, long b = 0, long c = 0, long d = 0, long e = 0,
                        long f = 0) noexcept {
  long result;
  register long r10 asm("r10") = d;
  register long r8 asm("r8") = e;
  register long r9 asm("r9") = f;
  asm volatile("syscall"
               : "=a"(result)
               : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
               : "rcx", "r11", "memory");
  return result;
}

template <class T>
long as_long(T* pointer) noexcept {
  return reinterpret_cast<long>(pointer);
}

}  // namespace holdfast::run::shim
