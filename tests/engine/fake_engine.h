// An engine without paging, for tests of what stands on the public interface alone: regions are
// ordinary memory, and what is advised free reads as zeros.
#pragma once

#include <sys/mman.h>

#include <cstring>
#include <list>
#include <memory>
#include <string>
#include <vector>

#include "base/base.h"
#include "holdfast/engine.h"

namespace holdfast::engine::test {

class FakeControl final : public detail::RegionControl {
 public:
  explicit FakeControl(std::uint64_t bytes) : bytes_(bytes), room_(2 * bytes + kHugeSize) {
    void* const memory = mmap(nullptr, room_, PROT_READ | PROT_WRITE,
                              MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    HF_CHECK(memory != MAP_FAILED);
    mapping_ = static_cast<std::byte*>(memory);
    const auto address = reinterpret_cast<std::uintptr_t>(memory);
    base_ = mapping_ + (round_up(address, kHugeSize) - address);
  }
  FakeControl(const FakeControl&) = delete;
  FakeControl& operator=(const FakeControl&) = delete;
  ~FakeControl() { munmap(mapping_, room_); }

  Expected<void> resize(std::uint64_t bytes) override {
    if (bytes == 0 || bytes > room_ - kHugeSize)
      return fail({.code = Errc::invalid_argument, .doing = "resize region"});
    bytes_ = bytes;
    return {};
  }
  Expected<void> advise(std::uint64_t offset, std::uint64_t bytes, Advice advice) override {
    if (refuse_advice) return fail({.code = Errc::busy, .doing = "advise region"});
    if (advice == Advice::free) {
      HF_CHECK(offset % kPageSize == 0 && bytes % kPageSize == 0 && offset + bytes <= bytes_);
      madvise(base_ + offset, bytes, MADV_DONTNEED);
      freed_bytes += bytes;
      ++freed_runs;
    }
    return {};
  }
  Expected<std::uint64_t> prefetch(std::uint64_t, std::uint64_t bytes) override {
    return bytes / kPageSize;
  }
  Expected<void> unmap() override {
    ++unmapped;
    return {};
  }
  Expected<void> unmap_later() noexcept override { return unmap(); }
  [[nodiscard]] std::byte* base() const noexcept override { return base_; }
  [[nodiscard]] std::uint64_t size() const noexcept override { return bytes_; }

  std::uint64_t freed_bytes = 0;
  std::uint64_t freed_runs = 0;
  int unmapped = 0;
  bool refuse_advice = false;

 private:
  std::uint64_t bytes_;
  const std::uint64_t room_;  // mapped: as far as it may grow, and what alignment takes
  std::byte* mapping_ = nullptr;
  std::byte* base_ = nullptr;
};

class FakeEngine final : public Engine {
 public:
  Expected<Region> map_anonymous(std::uint64_t bytes, std::uint64_t) override {
    if (refuse_map) return fail({.code = Errc::out_of_memory, .doing = "map region"});
    return Region(&controls.emplace_back(round_up(bytes, kPageSize)));
  }
  Expected<Pin> pin(const void*, std::size_t, Access, PinAccountId) override { return Pin(); }
  Expected<Pin> try_pin(const void*, std::size_t, Access, PinAccountId) override { return Pin(); }
  Expected<PinAccountId> open_pin_account(const char*, std::uint64_t) override {
    return PinAccountId::general;
  }
  Expected<void> close_pin_account(PinAccountId) override { return {}; }
  [[nodiscard]] bool owns(const void*) const noexcept override { return false; }
  Stats stats() override { return {}; }
  std::string description() const override { return "fake"; }
  std::uint64_t reclaim(std::uint64_t) override { return 0; }
  bool defer(void (*)(void*) noexcept, void*) noexcept override { return false; }
  Expected<std::byte*> allocate_pages(unsigned) override {
    return fail({.code = Errc::unsupported, .doing = "allocate pages"});
  }
  void free_pages(std::byte*, unsigned) noexcept override {}
  void dump_holders(const void*) override {}
  bool check_all() override { return true; }

  std::list<FakeControl> controls;
  bool refuse_map = false;
};

}  // namespace holdfast::engine::test
