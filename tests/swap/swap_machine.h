// A machine with a swap file in memory that fails on demand, and a fixture with a frame pool.
//
// Fault model: a write or read of an extent fails with an errno and has no effect (EIO, ENOSPC);
// a byte of the file changes by itself. Failures are chosen by the number of the transfer, so that
// a test can fail the n-th for every n.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <memory>
#include <mutex>
#include <random>
#include <vector>

#include "object_script.h"
#include "page/page.h"
#include "support/fake_machine.h"
#include "support/seed.h"
#include "swap/swap.h"

namespace holdfast::tests {

// What the file does; shared by test and file, which belongs to the tier.
struct FileScript {
  std::mutex mutex;
  std::vector<std::byte> bytes;
  std::uint64_t capacity = 1ULL << 40;  // ENOSPC for writes that end behind it
  std::uint32_t block_bytes = 512;
  int fail_read_in = -1, fail_write_in = -1;  // the n-th from now (0: the next); < 0: none
  bool for_ever = false;                      // and all that follow
  int files = 0;                              // made so far
  std::uint64_t reads = 0, writes = 0;        // extents
  std::vector<std::pair<std::uint64_t, std::uint64_t>> written;  // offset, bytes

  bool fails(int& in) {
    if (in < 0) return false;
    if (in > 0) {
      --in;
      return false;
    }
    if (!for_ever) in = -1;
    return true;
  }
};

class ScriptedFile final : public sys::SwapFile {
 public:
  explicit ScriptedFile(FileScript& script)
      : script_(script), bytes_(script.files++ == 0 ? script.bytes : own_) {}
  void read(std::span<sys::IoRequest> requests) noexcept override {
    const std::lock_guard<std::mutex> guard(script_.mutex);
    for (sys::IoRequest& r : requests) {
      expect_aligned(r);
      ++script_.reads;
      r.error = script_.fails(script_.fail_read_in) ? EIO : 0;
      if (r.offset + r.bytes > bytes_.size()) bytes_.resize(r.offset + r.bytes);
      if (r.error == 0) std::memcpy(r.data, bytes_.data() + r.offset, r.bytes);
    }
  }
  void write(std::span<sys::IoRequest> requests) noexcept override {
    const std::lock_guard<std::mutex> guard(script_.mutex);
    for (sys::IoRequest& r : requests) {
      expect_aligned(r);
      ++script_.writes;
      r.error = script_.fails(script_.fail_write_in) ? EIO : 0;
      if (r.offset + r.bytes > script_.capacity) r.error = ENOSPC;
      if (r.error != 0) continue;
      if (r.offset + r.bytes > bytes_.size()) bytes_.resize(r.offset + r.bytes);
      std::memcpy(bytes_.data() + r.offset, r.data, r.bytes);
      script_.written.emplace_back(r.offset, r.bytes);
    }
  }
  int punch(std::uint64_t, std::uint64_t) noexcept override { return 0; }
  std::uint32_t block_bytes() const noexcept override { return script_.block_bytes; }
  const char* description() const noexcept override { return "scripted"; }

 private:
  void expect_aligned(const sys::IoRequest& r) const {
    EXPECT_EQ(r.bytes % script_.block_bytes, 0u);
    EXPECT_EQ(r.offset % script_.block_bytes, 0u);
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(r.data) % script_.block_bytes, 0u);
    EXPECT_GT(r.bytes, 0u);
  }
  FileScript& script_;
  std::vector<std::byte> own_;
  std::vector<std::byte>& bytes_;  // the script's for the first file, so that tests reach it
};

class SwapMachine final : public FakeMachine {
 public:
  FileScript script;
  Expected<std::unique_ptr<sys::SwapFile>> create_swap_file(
      const sys::SwapFileOptions& options) override {
    if (options.directory == "missing") {
      return fail({.code = Errc::not_found, .os_errno = ENOENT, .doing = "make swap file"});
    }
    return std::make_unique<ScriptedFile>(script);
  }

  ObjectScript objects;
  std::atomic<std::uint64_t> clock_step_ns{0};  // by which the clock goes on whenever it is read
  Expected<std::unique_ptr<sys::ObjectStore>> open_object_store(
      const sys::ObjectStoreOptions&) override {
    if (objects.open_error != 0) {
      return fail(
          {.code = Errc::system, .os_errno = objects.open_error, .doing = "open far memory"});
    }
    return std::make_unique<ScriptedStore>(objects);
  }
  std::uint64_t now_ns() noexcept override {
    const std::uint64_t step = clock_step_ns.load();
    return FakeMachine::now_ns() + skipped_ns_.fetch_add(step) + step;
  }

 private:
  std::atomic<std::uint64_t> skipped_ns_{0};
};

// A page's worth of bytes with a buffer that is aligned as callers' pages are.
struct alignas(kPageSize) PageBytes {
  std::byte bytes[kPageSize];
  friend bool operator==(const PageBytes& a, const PageBytes& b) {
    return std::memcmp(a.bytes, b.bytes, kPageSize) == 0;
  }
};

// The first `random` bytes of each 1 KiB are by chance, the rest repeats: 0 compresses to almost
// nothing, 256 to a quarter, 1024 not at all.
inline PageBytes make_page(std::mt19937_64& chance, std::size_t random) {
  PageBytes page;
  for (std::size_t i = 0; i < kPageSize; ++i) {
    page.bytes[i] = i % 1024 < random ? static_cast<std::byte>(chance()) : std::byte{0x5a};
  }
  const std::uint64_t unique = chance();
  std::memcpy(page.bytes, &unique, sizeof unique);
  return page;
}

inline swap::TierOptions ram_tier(std::uint64_t limit = 0,
                                  swap::Compression compression = swap::Compression::lz4) {
  return {.kind = swap::TierKind::ram,
          .compression = compression,
          .limit_bytes = limit,
          .block_bytes = 16 * 1024};
}
inline swap::TierOptions file_tier(std::uint64_t limit = 0,
                                   swap::Compression compression = swap::Compression::lz4) {
  return {.kind = swap::TierKind::file,
          .compression = compression,
          .limit_bytes = limit,
          .directory = "here",
          .cluster_bytes = 32 * 1024};
}

// A file tier whose pages are encrypted.
inline swap::TierOptions sealed(swap::TierOptions tier) {
  tier.encrypted = true;
  return tier;
}

inline swap::TierOptions far_tier(std::uint64_t limit = 0,
                                  swap::Compression compression = swap::Compression::lz4) {
  return {.kind = swap::TierKind::rados,
          .compression = compression,
          .limit_bytes = limit,
          .far = {.pool = "pool"},
          .object_bytes = 64 * 1024,
          .staging = 3};
}

class SwapTest : public testing::Test {
 protected:
  explicit SwapTest(std::uint64_t seed = 1) : chance(seed) {}
  void make(std::vector<swap::TierOptions> tiers, std::uint32_t frames = 4096,
            std::uint64_t slots = 8192) {
    swap.reset();
    pool.reset();
    machine.script.bytes.clear();
    machine.script.files = 0;
    auto made_pool = page::FramePool::create(machine, {.frames = frames});
    ASSERT_TRUE(made_pool) << made_pool.error().message();
    pool = std::move(*made_pool);
    at_start = pool->counts();
    auto made = swap::Swap::create(machine, *pool, {.tiers = std::move(tiers), .slots_max = slots});
    ASSERT_TRUE(made) << made.error().message();
    swap = std::move(*made);
  }
  void TearDown() override {
    if (swap != nullptr) {
      EXPECT_TRUE(swap->check());
    }
    swap.reset();
    if (pool != nullptr) {
      EXPECT_EQ(pool->counts(), at_start) << "frames were not given back";
      EXPECT_TRUE(pool->check());
    }
    pool.reset();
    EXPECT_EQ(machine.reserved_ranges(), 0u);
  }

  std::vector<swap::StoreItem> store(std::span<const PageBytes> pages) {
    std::vector<swap::StoreItem> items(pages.size());
    for (std::size_t i = 0; i < pages.size(); ++i) {
      items[i].page = pages[i].bytes;
      items[i].hash = base::hash_page(pages[i].bytes);
    }
    swap->store(items, page::Priority::reclaim);
    return items;
  }
  swap::StoreItem store_one(const PageBytes& page) { return store({&page, 1})[0]; }
  swap::LoadItem load(SlotIndex slot, PageBytes& page) {
    swap::LoadItem item{.slot = slot, .page = page.bytes};
    swap->load({&item, 1});
    return item;
  }
  void expect_holds(SlotIndex slot, const PageBytes& expected) {
    auto page = std::make_unique<PageBytes>();
    const swap::LoadItem item = load(slot, *page);
    ASSERT_TRUE(item.ok) << item.error.message();
    EXPECT_TRUE(*page == expected);
  }
  std::vector<PageBytes> some_pages(std::size_t count, std::size_t random = 256) {
    std::vector<PageBytes> pages;
    for (std::size_t i = 0; i < count; ++i) pages.push_back(make_page(chance, random));
    return pages;
  }
  // How many of the pages that have a slot are refused as corrupted; what comes is right.
  std::size_t refused(std::span<const swap::StoreItem> items, std::span<const PageBytes> pages) {
    std::size_t count = 0;
    for (std::size_t i = 0; i < pages.size(); ++i) {
      if (items[i].slot.is_none()) continue;
      auto page = std::make_unique<PageBytes>();
      const swap::LoadItem item = load(items[i].slot, *page);
      if (item.ok) {
        EXPECT_TRUE(*page == pages[i]);
      } else {
        EXPECT_EQ(item.error.code, Errc::corrupted);
        ++count;
      }
    }
    return count;
  }
  void put_all(std::span<const swap::StoreItem> items) {
    for (const swap::StoreItem& item : items) {
      if (!item.slot.is_none()) swap->put(item.slot);
    }
  }
  void maintain_all() {
    int passes = 0;
    while (swap->maintain()) ASSERT_LT(++passes, 10000);
    for (int i = 0; i < 4; ++i) swap->maintain();  // the last empty blocks go by halves
  }
  swap::TierStats tier(std::size_t index) const { return swap->stats().tiers.at(index); }

  std::mt19937_64 chance;
  SwapMachine machine;
  std::unique_ptr<page::FramePool> pool;
  page::FrameCounts at_start;
  std::unique_ptr<swap::Swap> swap;
};

}  // namespace holdfast::tests
