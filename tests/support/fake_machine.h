// A machine that has memory and nothing else, for tests of the modules that ask for no more: the
// frame pool, the lists. Memory is the process's own; faults, files and threads are refused.
#pragma once

#include <sched.h>
#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstring>
#include <map>
#include <mutex>
#include <string>

#include "sys/sys.h"

namespace holdfast::tests {

class FakeMachine : public sys::Machine {
 public:
  // cpus: how many there seem to be.
  explicit FakeMachine(std::uint32_t cpus = 2) : cpus_(cpus) {}
  ~FakeMachine() override {
    for (const auto& [address, bytes] : mappings_)
      ::munmap(reinterpret_cast<void*>(address), bytes);
  }

  // --- what tests turn ---
  // The n-th call of reserve() from now fails (0: the next one); < 0: none does.
  int fail_reserve_in = -1;
  std::atomic<int> discard_error{0};       // every discard fails with it; 0: none does
  std::atomic<std::uint64_t> discards{0};  // calls that succeeded
  std::string printed;                     // what print_line said, if capture is on
  bool capture = false;
  // The CPU that this thread seems to run on; < 0: the one that it does.
  static inline thread_local int this_cpu = -1;

  // --- memory ---
  [[nodiscard]] Expected<Address> reserve(std::uint64_t bytes, std::uint64_t align,
                                          sys::Purpose) noexcept override {
    if (fail_reserve_in >= 0 && fail_reserve_in-- == 0) {
      return fail({.code = Errc::system, .os_errno = ENOMEM, .doing = "reserve memory"});
    }
    const std::uint64_t length = bytes + align;
    void* const memory = ::mmap(nullptr, length, PROT_READ | PROT_WRITE,
                                MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED) return fail({.code = Errc::system, .os_errno = errno});
    const auto address = reinterpret_cast<Address>(memory);
    const std::lock_guard<std::mutex> guard(mutex_);
    mappings_[address] = length;
    return round_up(address, align);
  }
  int release(Address address, std::uint64_t) noexcept override {
    const std::lock_guard<std::mutex> guard(mutex_);
    auto mapping = mappings_.upper_bound(address);
    if (mapping == mappings_.begin()) return EINVAL;
    --mapping;
    ::munmap(reinterpret_cast<void*>(mapping->first), mapping->second);
    mappings_.erase(mapping);
    return 0;
  }
  int discard(Address address, std::uint64_t bytes) noexcept override {
    if (const int error = discard_error.load()) return error;
    std::memset(view(address), 0, bytes);
    ++discards;
    return 0;
  }
  void populate(Address, std::uint64_t) noexcept override {}
  int remap_out(Address, Address, std::uint64_t) noexcept override { return ENOSYS; }
  [[nodiscard]] std::byte* view(Address address) noexcept override {
    return reinterpret_cast<std::byte*>(address);
  }
  // Ranges that were reserved and not released.
  [[nodiscard]] std::size_t reserved_ranges() {
    const std::lock_guard<std::mutex> guard(mutex_);
    return mappings_.size();
  }

  // --- what it does not have ---
  [[nodiscard]] Expected<std::unique_ptr<sys::FaultSource>> open_faults(
      const sys::FaultSourceOptions&, sys::FaultSink&) override {
    return fail({.code = Errc::unsupported, .os_errno = ENOSYS});
  }
  [[nodiscard]] Expected<std::unique_ptr<sys::SwapFile>> create_swap_file(
      const sys::SwapFileOptions&) override {
    return fail({.code = Errc::unsupported, .os_errno = ENOSYS});
  }
  [[nodiscard]] Expected<std::unique_ptr<sys::Thread>> start_thread(const char*, void (*)(void*),
                                                                    void*) override {
    return fail({.code = Errc::unsupported, .os_errno = ENOSYS});
  }

  // --- clock, chance, size ---
  [[nodiscard]] std::uint64_t now_ns() noexcept override { return ++clock_; }
  [[nodiscard]] std::uint32_t current_cpu() noexcept override {
    const int cpu = this_cpu >= 0 ? this_cpu : ::sched_getcpu();
    return static_cast<std::uint32_t>(cpu < 0 ? 0 : cpu) % cpus_;
  }
  [[nodiscard]] std::uint32_t cpu_count() const noexcept override { return cpus_; }
  [[nodiscard]] std::uint64_t random_u64() noexcept override {
    return (++clock_ * 0x9e3779b97f4a7c15U) ^ (clock_ << 7);
  }
  [[nodiscard]] std::uint64_t memory_bytes() const noexcept override { return 1ULL << 34; }
  [[nodiscard]] std::uint64_t resident_bytes() noexcept override { return 0; }
  void print_line(const char* line) noexcept override {
    if (capture) {
      printed.append(line).append("\n");
      return;
    }
    [[maybe_unused]] auto a = ::write(STDERR_FILENO, line, std::strlen(line));
    [[maybe_unused]] auto b = ::write(STDERR_FILENO, "\n", 1);
  }

 private:
  std::uint32_t cpus_;
  std::atomic<std::uint64_t> clock_{0};
  std::mutex mutex_;
  std::map<Address, std::uint64_t> mappings_;  // by mutex_: what was mapped, whole
};

}  // namespace holdfast::tests
