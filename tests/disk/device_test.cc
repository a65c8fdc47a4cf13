// A device that fails, and is mended: who is told of it, what stays in memory meanwhile, and that
// what is said to be durable afterwards stands on the device.
#include <gtest/gtest.h>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <functional>
#include <thread>

#include "disk/disk_world.h"
#include "disk/failing_device.h"
#include "run/private_disk.h"
#include "support/page_waits.h"

namespace holdfast::disk::test {
namespace {

using run::test::PrivateDisk;

constexpr std::uint64_t kDevice = 16 * kMiB;
constexpr std::uint64_t kPages = 256;  // of the file
constexpr std::uint64_t kBad = 100;    // the page that stands behind all others on the device
constexpr std::uint64_t kBytes = kPages * kPageSize;
constexpr std::uint64_t kTail = 100;  // bytes of the last page of a file that ends inside it

// Mends the device when somebody asks for what it does not give, and has it tried again.
struct Healer {
  FailingDevice* device = nullptr;
  std::atomic<int> calls{0};
  Error error{};
  std::uintptr_t address = 0;
};
OnError mend_it(const Error& error, std::uintptr_t address, void* context) noexcept {
  auto& healer = *static_cast<Healer*>(context);
  healer.error = error;
  healer.address = address;
  const bool mended = healer.calls.fetch_add(1) == 0 && healer.device->mend();
  return mended ? OnError::retry : OnError::terminate;
}

class DiskDevice : public testing::Test {
 protected:
  void SetUp() override {
    if (!disk.refused().empty()) GTEST_SKIP() << disk.refused();
    device = std::make_unique<FailingDevice>(disk.path(), "device", kDevice);
    if (!device->refused().empty()) GTEST_SKIP() << device->refused();
    path = device->path() + "/file";
    journal = path + ".holdfast-journal";
  }

  // A file all of which stands on the device, page kBad behind all others: what fails from there on
  // is that page alone. `before`: what stands before it, too.
  void put_file_with_a_bad_page(const std::function<void()>& before = [] {}) {
    const std::string other = device->path() + "/other";
    put_file(path, kBytes);
    flush(path);
    before();
    put_file(other, kBytes);
    flush(path);
    ASSERT_NO_FATAL_FAILURE(exchange_page(path, other, kBad));
    ::unlink(other.c_str());
    flush(path);
    for (std::uint64_t page = 0; page < kPages; ++page) {
      ASSERT_TRUE(page == kBad || place_of(path, page) < place_of(path, kBad)) << page;
    }
  }
  // A file that ends inside its last page, which is the one that fails.
  void put_file_with_a_bad_tail() {
    put_file(path, kBytes + kTail);
    flush(path);
    for (std::uint64_t page = 0; page < kPages; ++page) {
      ASSERT_LT(place_of(path, page), place_of(path, kPages)) << page;
    }
  }
  // What is changed of the tables goes with it: nothing of the file system waits to be written.
  static void flush(const std::string& of) {
    const int fd = ::open(of.c_str(), O_RDONLY | O_CLOEXEC);
    EXPECT_EQ(::syncfs(fd), 0);
    ::close(fd);
  }
  void fail(std::uint64_t page = kBad) const { device->fail_from(place_of(path, page)); }

  // What a machine finds that loses its power now.
  [[nodiscard]] Bytes on_the_device() const {
    const auto cut = device->after_a_power_cut();
    return read_file(cut->path() + "/file");
  }
  // Nothing is written behind the back of a test that does not ask for it.
  static Options quiet(Options options) {
    options.write_back.enabled = false;
    return options;
  }
  static std::unique_ptr<Engine> make_quiet_engine() { return make_engine(quiet(small_options())); }

  const PrivateDisk disk{4 * kDevice};
  std::unique_ptr<FailingDevice> device;
  std::string path;
  std::string journal;
};

void change(const FileMapping& mapping, std::uint64_t first, std::uint64_t end, std::uint64_t key) {
  for (std::uint64_t page = first; page < end; ++page) {
    store(mapping.data() + page * kPageSize, key + page);
  }
}
std::uint64_t unchanged(const std::byte* memory, std::uint64_t first, std::uint64_t end,
                        std::uint64_t key) {
  std::uint64_t wrong = 0;
  for (std::uint64_t page = first; page < end; ++page) {
    wrong += load(memory + page * kPageSize) == key + page ? 0 : 1;
  }
  return wrong;
}
std::uint64_t unmarked_pages(const FileMapping& mapping, std::uint64_t first, std::uint64_t end) {
  const std::uint64_t at = first * kPageSize;
  return unmarked(mapping.data() + at, at, (end - first) * kPageSize);
}

bool is_eio(const Expected<void>& outcome, std::uint64_t offset) {
  if (outcome) return false;
  const Error& error = outcome.error();
  EXPECT_EQ(error.value, offset) << error.message();
  return error.code == Errc::io_error && error.os_errno == EIO;
}

// --- reading ---

constexpr FileOptions kEachWay[] = {{.mode = FileMode::shared},
                                    {.mode = FileMode::read_only},
                                    {.mode = FileMode::private_copy},
                                    {.commits = true}};

TEST_F(DiskDevice, APageThatCannotBeReadIsRefusedAlone) {
  ASSERT_NO_FATAL_FAILURE(put_file_with_a_bad_page());
  for (const Options& options : engines()) {
    for (const FileOptions& how : kEachWay) {
      const auto engine = make_engine(quiet(options));
      const FileMapping mapping = map(*engine, path, how);
      ASSERT_NO_FATAL_FAILURE(fail());
      tests::Waits waits(3, 1);
      for (auto& wait : waits.all) wait.page += kBad - 1;
      waits.run(mapping);
      EXPECT_EQ(waits.good(), 2u);
      EXPECT_EQ(waits.all[0].outcome->has_value(), true);
      ASSERT_FALSE(waits.all[1].outcome->has_value());
      const Error error = waits.all[1].outcome->error();
      EXPECT_EQ(error.code, Errc::io_error);
      EXPECT_EQ(error.os_errno, EIO);
      EXPECT_EQ(error.value, kBad * kPageSize) << "the offset in the file";
      const auto pin = engine->pin(mapping.data() + kBad * kPageSize, kPageSize, Access::read);
      ASSERT_FALSE(pin);
      EXPECT_EQ(pin.error().os_errno, EIO) << pin.error().message();
      // A stream up to it, and one from there on: no load of these ends the process.
      EXPECT_EQ(unmarked_pages(mapping, 0, kBad), 0u);
      EXPECT_EQ(unmarked_pages(mapping, kBad + 1, kPages), 0u);
      ASSERT_TRUE(device->mend());
      EXPECT_EQ(unmarked_pages(mapping, kBad, kBad + 1), 0u) << "another touch tries again";
      EXPECT_TRUE(all_is_well(*engine));
    }
  }
}

TEST_F(DiskDevice, AHandlerMayMendItAndTheLoadGoesOn) {
  ASSERT_NO_FATAL_FAILURE(put_file_with_a_bad_page());
  for (const Options& each : engines()) {
    for (const FileOptions& how : kEachWay) {
      Healer healer{.device = device.get()};
      Options options = quiet(each);
      options.on_error = mend_it;
      options.on_error_context = &healer;
      const auto engine = make_engine(options);
      const FileMapping mapping = map(*engine, path, how);
      ASSERT_NO_FATAL_FAILURE(fail());
      EXPECT_EQ(unmarked_pages(mapping, 0, kPages), 0u);
      EXPECT_EQ(healer.calls, 1);
      EXPECT_EQ(healer.error.code, Errc::io_error);
      EXPECT_EQ(healer.error.os_errno, EIO);
      EXPECT_EQ(healer.error.value, kBad * kPageSize);
      EXPECT_EQ(healer.address,
                reinterpret_cast<std::uintptr_t>(mapping.data()) + kBad * kPageSize);
      EXPECT_TRUE(device->mend());
      EXPECT_TRUE(all_is_well(*engine));
    }
  }
}

// --- writing ---

TEST_F(DiskDevice, ASyncTellsThePageThatFailedAndWritesTheOthers) {
  ASSERT_NO_FATAL_FAILURE(put_file_with_a_bad_page());
  const auto engine = make_quiet_engine();
  FileMapping mapping = map(*engine, path);
  change(mapping, kBad - 20, kBad + 20, 1);
  ASSERT_NO_FATAL_FAILURE(fail());
  EXPECT_TRUE(is_eio(mapping.sync(), kBad * kPageSize));
  EXPECT_EQ(unchanged(mapping.data(), kBad - 20, kBad + 20, 1), 0u);
  const Bytes found = on_the_device();
  EXPECT_EQ(unchanged(found.data(), kBad - 20, kBad, 1), 0u);
  EXPECT_EQ(unmarked(found.data() + kBad * kPageSize, kBad * kPageSize, kPageSize), 0u);
  EXPECT_EQ(unchanged(found.data(), kBad + 1, kBad + 20, 1), 0u);
}

TEST_F(DiskDevice, WhatASyncCouldNotWriteStaysInMemoryUntilTheDeviceIsMended) {
  ASSERT_NO_FATAL_FAILURE(put_file_with_a_bad_page());
  const auto engine = make_quiet_engine();
  FileMapping mapping = map(*engine, path);
  FileMapping second = map(*engine, path, {.offset = 8});
  change(mapping, 0, kPages, 1);
  ASSERT_NO_FATAL_FAILURE(fail());
  EXPECT_TRUE(is_eio(mapping.sync(), kBad * kPageSize));
  push_out(*engine);
  EXPECT_EQ(unchanged(mapping.data(), 0, kPages, 1), 0u);
  EXPECT_TRUE(is_eio(mapping.sync(), kBad * kPageSize)) << "not durable, however often one asks";
  ASSERT_TRUE(device->mend());
  const auto again = mapping.sync();
  ASSERT_TRUE(again) << "told once: " << again.error().message();
  EXPECT_EQ(unchanged(on_the_device().data(), 0, kPages, 1), 0u);
  EXPECT_TRUE(is_eio(second.sync(), kBad * kPageSize)) << "each mapping is told";
  EXPECT_TRUE(second.sync()) << "once";
  EXPECT_TRUE(all_is_well(*engine));
}

TEST_F(DiskDevice, WhatAnEvictionCouldNotWriteIsToldToEachMappingOnce) {
  ASSERT_NO_FATAL_FAILURE(put_file_with_a_bad_page());
  const auto engine = make_quiet_engine();
  FileMapping first = map(*engine, path);
  FileMapping second = map(*engine, path, {.offset = 8});
  change(first, 0, kPages, 1);
  ASSERT_NO_FATAL_FAILURE(fail());
  push_out(*engine);
  EXPECT_EQ(unchanged(first.data(), kBad, kBad + 1, 1), 0u) << "it stays";
  ASSERT_TRUE(device->mend());
  EXPECT_TRUE(is_eio(first.sync(), kBad * kPageSize));
  EXPECT_TRUE(first.sync()) << "once";
  EXPECT_TRUE(is_eio(second.sync(), kBad * kPageSize)) << "each";
  EXPECT_TRUE(second.sync());
  EXPECT_TRUE(map(*engine, path).sync()) << "it was not there";
  EXPECT_EQ(unchanged(first.data(), 0, kPages, 1), 0u);
  EXPECT_EQ(unchanged(on_the_device().data(), 0, kPages, 1), 0u);
  EXPECT_TRUE(all_is_well(*engine));
}

TEST_F(DiskDevice, AnUnmapThatCannotWriteLeavesTheMapping) {
  ASSERT_NO_FATAL_FAILURE(put_file_with_a_bad_page());
  const auto engine = make_quiet_engine();
  FileMapping mapping = map(*engine, path);
  change(mapping, 0, kPages, 1);
  ASSERT_NO_FATAL_FAILURE(fail());
  EXPECT_TRUE(is_eio(mapping.unmap(), kBad * kPageSize));
  EXPECT_EQ(unchanged(mapping.data(), 0, kPages, 1), 0u);
  ASSERT_TRUE(device->mend());
  ASSERT_TRUE(mapping.unmap());
  flush(path);
  EXPECT_EQ(unchanged(on_the_device().data(), 0, kPages, 1), 0u);
}

// The last page goes by way of the kernel's cache: its write succeeds, and it is the flush that
// fails. After that the kernel takes the page for written, and another flush succeeds: only who
// writes it once more has it on the device.
TEST_F(DiskDevice, WhatAFlushCouldNotWriteIsWrittenAgainByTheNextSync) {
  ASSERT_NO_FATAL_FAILURE(put_file_with_a_bad_tail());
  const auto engine = make_quiet_engine();
  FileMapping mapping = map(*engine, path);
  change(mapping, 0, kPages + 1, 1);
  ASSERT_NO_FATAL_FAILURE(fail(kPages));
  const auto synced = mapping.sync();
  ASSERT_FALSE(synced);
  EXPECT_EQ(synced.error().code, Errc::io_error);
  EXPECT_EQ(synced.error().os_errno, EIO);
  push_out(*engine);
  EXPECT_EQ(unchanged(mapping.data(), 0, kPages + 1, 1), 0u);
  ASSERT_TRUE(device->mend());
  const auto again = mapping.sync();
  ASSERT_TRUE(again) << again.error().message();
  EXPECT_EQ(unchanged(on_the_device().data(), 0, kPages + 1, 1), 0u);
  EXPECT_TRUE(all_is_well(*engine));
}

// The same of what was written in the background before the device failed it.
TEST_F(DiskDevice, WhatTheBackgroundCouldNotBringToTheDeviceIsToldAndWrittenAgain) {
  ASSERT_NO_FATAL_FAILURE(put_file_with_a_bad_tail());
  Options options = small_options();
  options.write_back = {.interval_ms = 1, .age_ms = 0};
  const auto engine = make_engine(options);
  FileMapping mapping = map(*engine, path);
  ASSERT_NO_FATAL_FAILURE(fail(kPages));
  change(mapping, kPages, kPages + 1, 1);
  const auto end = std::chrono::steady_clock::now() + std::chrono::minutes(2);
  for (Stats stats; stats.background_failed + stats.background_written == 0;) {
    ASSERT_LT(std::chrono::steady_clock::now(), end) << "nothing is written";
    std::this_thread::yield();
    stats = engine->stats();
  }
  EXPECT_FALSE(mapping.sync());
  ASSERT_TRUE(device->mend());
  (void)mapping.sync();  // it may be told of another attempt that failed before that
  const auto again = mapping.sync();
  ASSERT_TRUE(again) << again.error().message();
  EXPECT_EQ(unchanged(mapping.data(), kPages, kPages + 1, 1), 0u);
  EXPECT_EQ(unchanged(on_the_device().data(), kPages, kPages + 1, 1), 0u);
  EXPECT_TRUE(all_is_well(*engine));
}

// --- commits ---

// What a machine finds that loses its power now, and maps the file: the last commit.
Bytes recovered(const FailingDevice& device) {
  const auto cut = device.after_a_power_cut();
  const auto engine = make_engine(small_options());
  const FileMapping mapping = map(*engine, cut->path() + "/file", {.commits = true});
  return {mapping.data(), mapping.data() + mapping.size()};
}

class DiskDeviceCommit : public DiskDevice {
 protected:
  // A file with a commit in its journal, which fails from its second block on.
  void commit_and_fail() {
    put_file(path, kBytes);
    flush(path);
    engine = make_quiet_engine();
    mapping = map(*engine, path, {.commits = true});
    change(mapping, 0, kPages, 1000);
    ASSERT_TRUE(mapping.commit());
    flush(path);
    const std::uint64_t place = place_of(journal, 1);
    for (std::uint64_t page = 0; page < kPages; ++page) ASSERT_LT(place_of(path, page), place);
    device->fail_from(place);
  }
  std::unique_ptr<Engine> engine;
  FileMapping mapping;  // goes first
};

TEST_F(DiskDeviceCommit, ThatFailsIsIntactInMemoryAndCanBeTriedAgain) {
  ASSERT_NO_FATAL_FAILURE(commit_and_fail());
  for (std::uint64_t tries = 1; tries <= 2; ++tries) {
    change(mapping, 0, kPages, 5000 * tries);
    const auto failed = mapping.commit();
    ASSERT_FALSE(failed);
    EXPECT_EQ(failed.error().code, Errc::io_error);
    EXPECT_EQ(failed.error().os_errno, EIO);
    push_out(*engine);
    EXPECT_EQ(unchanged(mapping.data(), 0, kPages, 5000 * tries), 0u);
    EXPECT_EQ(unchanged(recovered(*device).data(), 0, kPages, 1000), 0u) << "the last commit";
  }
  ASSERT_TRUE(device->mend());
  const auto again = mapping.commit();
  ASSERT_TRUE(again) << again.error().message();
  EXPECT_EQ(unchanged(mapping.data(), 0, kPages, 10'000), 0u);
  EXPECT_EQ(unchanged(recovered(*device).data(), 0, kPages, 10'000), 0u) << "by the journal";
  const auto synced = mapping.sync();
  ASSERT_TRUE(synced) << synced.error().message();
  EXPECT_EQ(unchanged(on_the_device().data(), 0, kPages, 10'000), 0u);
  EXPECT_TRUE(all_is_well(*engine));
}

TEST_F(DiskDeviceCommit, ThatFailsCanBeRolledBack) {
  ASSERT_NO_FATAL_FAILURE(commit_and_fail());
  change(mapping, 0, kPages, 5000);
  ASSERT_FALSE(mapping.commit());
  const auto rolled_back = mapping.rollback();
  ASSERT_TRUE(rolled_back) << rolled_back.error().message();
  EXPECT_EQ(unchanged(mapping.data(), 0, kPages, 1000), 0u);
  ASSERT_TRUE(device->mend());
  EXPECT_EQ(unchanged(recovered(*device).data(), 0, kPages, 1000), 0u);
  change(mapping, 0, kPages, 6000);
  const auto again = mapping.commit();
  ASSERT_TRUE(again) << again.error().message();
  EXPECT_EQ(unchanged(recovered(*device).data(), 0, kPages, 6000), 0u);
  EXPECT_TRUE(all_is_well(*engine));
}

// The journal stands before the page that fails, as it was there before that.
TEST_F(DiskDeviceCommit, IsDurableEvenWhereTheFileCannotBeWritten) {
  ASSERT_NO_FATAL_FAILURE(
      put_file_with_a_bad_page([&] { write_file(journal, Bytes(8 * kBytes)); }));
  engine = make_quiet_engine();
  mapping = map(*engine, path, {.commits = true});
  change(mapping, 0, kPages, 1);
  ASSERT_NO_FATAL_FAILURE(fail());
  const auto committed = mapping.commit();
  ASSERT_TRUE(committed) << committed.error().message();
  push_out(*engine);
  EXPECT_EQ(unchanged(mapping.data(), 0, kPages, 1), 0u) << "what the file did not take stays";
  const auto synced = mapping.sync();
  ASSERT_FALSE(synced);
  EXPECT_EQ(synced.error().code, Errc::io_error);
  EXPECT_EQ(synced.error().os_errno, EIO);
  EXPECT_EQ(unchanged(mapping.data(), 0, kPages, 1), 0u);
  EXPECT_EQ(unchanged(recovered(*device).data(), 0, kPages, 1), 0u);
  ASSERT_TRUE(device->mend());
  const auto again = mapping.sync();
  ASSERT_TRUE(again) << again.error().message();
  EXPECT_EQ(unchanged(on_the_device().data(), 0, kPages, 1), 0u) << "written once more";
  EXPECT_TRUE(all_is_well(*engine));
}

}  // namespace
}  // namespace holdfast::disk::test
