// What the tests of the real machine share: a region with a sink that serves it from a pattern.
#pragma once

#include <gtest/gtest.h>

#include <atomic>
#include <cstdint>
#include <cstring>
#include <memory>

#include "sync/sync.h"
#include "sys/sys.h"

namespace holdfast::sys::test {

inline constexpr std::uint64_t kWindow = kHugeSize;

// Reserved memory that is given back.
class Reserved {
 public:
  Reserved(std::uint64_t bytes, Purpose purpose, std::uint64_t align = kPageSize) : bytes_(bytes) {
    auto address = real_machine().reserve(bytes, align, purpose);
    if (address) address_ = *address;
    EXPECT_TRUE(address.has_value());
  }
  ~Reserved() { real_machine().release(address_, bytes_); }
  Reserved(const Reserved&) = delete;
  Reserved& operator=(const Reserved&) = delete;
  [[nodiscard]] Address address(std::uint64_t page = 0) const {
    return address_ + page * kPageSize;
  }
  [[nodiscard]] std::uint64_t bytes() const { return bytes_; }
  // The first word of a page, read or written as the program would.
  [[nodiscard]] volatile std::uint64_t& word(std::uint64_t page) const {
    return *reinterpret_cast<volatile std::uint64_t*>(address(page));
  }

 private:
  Address address_ = 0;
  std::uint64_t bytes_;
};

// Serves every page of a range by a copy of one page whose first word says which page it is.
class PatternSink : public FaultSink {
 public:
  static constexpr std::uint64_t kSalt = 0x5eed000000000000;

  virtual ~PatternSink() = default;
  void serve(const Reserved& region) {
    first_ = region.address();
    end_ = first_ + region.bytes();
  }
  bool owns(Address address) const noexcept override { return address >= first_ && address < end_; }
  FaultOutcome on_fault(Address address, Access access) noexcept override {
    const Address page = address & ~(kPageSize - 1);
    (access == Access::write ? writes : reads).fetch_add(1);
    if (fatal) return FaultOutcome::fatal;
    alignas(64) std::byte content[kPageSize] = {};
    const std::uint64_t word = kSalt + (page - first_) / kPageSize;
    std::memcpy(content, &word, sizeof(word));
    const Transfer did = source->copy(page, content, kPageSize);
    return did.error == 0 || did.error == EEXIST ? FaultOutcome::served : FaultOutcome::fatal;
  }

  FaultSource* source = nullptr;
  std::atomic<std::uint64_t> reads{0};
  std::atomic<std::uint64_t> writes{0};
  std::atomic<bool> fatal{false};

 private:
  std::atomic<Address> first_{0};
  std::atomic<Address> end_{0};
};

// A region that faults to a PatternSink.
class ServedRegion {
 public:
  explicit ServedRegion(Delivery delivery, std::uint64_t pages = 1024, bool allow_move = true)
      : region(pages * kPageSize, Purpose::region, kWindow) {
    auto opened =
        real_machine().open_faults({.delivery = delivery, .allow_move = allow_move}, sink);
    EXPECT_TRUE(opened.has_value()) << opened.error().message();
    source = std::move(*opened);
    sink.source = source.get();
    sink.serve(region);
    EXPECT_EQ(source->register_range(region.address(), region.bytes()), 0);
  }
  ~ServedRegion() { EXPECT_EQ(source->unregister_range(region.address(), region.bytes()), 0); }
  ServedRegion(const ServedRegion&) = delete;
  ServedRegion& operator=(const ServedRegion&) = delete;

  mutable PatternSink sink;  // tests of a const region still steer what it serves
  Reserved region;
  std::unique_ptr<FaultSource> source;
};

// Why a test of thread delivery cannot run here; empty: it can.
inline std::string no_thread_delivery() {
  return probe_capabilities().thread_delivery.works
             ? ""
             : "thread delivery needs kernel-mode faults, which this user may not take";
}

}  // namespace holdfast::sys::test
