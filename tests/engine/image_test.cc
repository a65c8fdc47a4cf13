// Saving and restoring by the public interface.
#include <gtest/gtest.h>

#include <random>
#include <thread>

#include "engine/image_engine.h"
#include "support/seed.h"
#include "sync/sync.h"

namespace holdfast::engine::test {
namespace {

constexpr std::uint64_t kBudgetPages = kBudget / kPageSize;
constexpr std::uint64_t kPages = 4 * kBudgetPages;

class EngineImage : public testing::TestWithParam<FaultDelivery> {
 protected:
  void SetUp() override {
    const Options options = small_options(GetParam());
    if (const std::string why = cannot_run(options); !why.empty()) GTEST_SKIP() << why;
    engine = make_engine(options);
    fill(memory);
  }
  void TearDown() override {
    if (engine == nullptr) return;
    EXPECT_TRUE(all_is_well(*engine));
    EXPECT_EQ(engine->stats().managed_bytes, 0u) << "the test gave its regions back";
  }
  void save(const std::string& name, const SaveOptions& options = {}) {
    const auto report = save_to(snapshot, file(name), options);
    ASSERT_TRUE(report) << report.error().message();
  }
  [[nodiscard]] Region restored(const std::string& name) {
    auto region = restore_from(*engine, file(name));
    if (region) return std::move(*region);
    ADD_FAILURE() << region.error().message();
    return {};
  }
  [[nodiscard]] std::string file(const std::string& name) const { return directory.file(name); }

  tests::TempDirectory directory;
  PlainSnapshot memory{kPages};
  Snapshot snapshot{&memory};
  std::unique_ptr<Engine> engine;
};

TEST_P(EngineImage, random_reads_of_an_image_larger_than_the_budget_find_what_was_saved) {
  const std::uint64_t seed = tests::test_seed();
  HF_SEED_TRACE(seed);
  std::mt19937_64 chance(seed);
  save("image");
  Region region = restored("image");
  EXPECT_EQ(region.size(), memory.size());
  EXPECT_EQ(engine->stats().faults_source, 0u) << "nothing is read before it is touched";
  for (int i = 0; i < 20'000; ++i) {
    const std::uint64_t page = chance() % kPages;
    ASSERT_TRUE(same_page(region, page, memory)) << page;
  }
  for (std::uint64_t page = 0; page < kPages; ++page) {
    ASSERT_TRUE(same_page(region, page, memory)) << page;
  }
  const Stats stats = engine->stats();
  EXPECT_GT(stats.faults_source, kPages);
  EXPECT_EQ(stats.evicted_written, 0u) << "what was not written to takes no room in swap";
}

TEST_P(EngineImage, what_is_written_stays_and_the_image_is_as_it_was) {
  const std::uint64_t seed = tests::test_seed();
  HF_SEED_TRACE(seed);
  std::mt19937_64 chance(seed);
  save("image");
  {
    Region region = restored("image");
    std::vector<std::uint64_t> keys(kPages, 0);
    for (std::uint64_t i = 1; i <= kPages; ++i) {
      const std::uint64_t page = chance() % kPages;
      keys[page] = 1'000'000 + i;
      write_page(page_at(region, page), keys[page]);
    }
    for (std::uint64_t page = 0; page < kPages; ++page) {
      if (keys[page] == 0) {
        ASSERT_TRUE(same_page(region, page, memory)) << page;
      } else {
        ASSERT_TRUE(page_holds(page_at(region, page), keys[page])) << page;
      }
    }
  }
  EXPECT_TRUE(Image::open(file("image"))->verify());
  Region again = restored("image");
  for (std::uint64_t page = 0; page < kPages; page += 7) {
    ASSERT_TRUE(same_page(again, page, memory)) << page;
  }
}

TEST_P(EngineImage, threads_read_and_write_one_restored_region_at_once) {
  save("image");
  Region region = restored("image");
  std::vector<std::thread> threads;
  std::atomic<int> wrong{0};
  for (std::uint64_t t = 0; t < 3; ++t) {
    threads.emplace_back([&, t] {
      std::mt19937_64 chance(t);
      for (int i = 0; i < 3000; ++i) {
        const std::uint64_t page = chance() % kPages;
        if (page % 3 == t) {
          auto* words = reinterpret_cast<std::uint64_t*>(page_at(region, page));
          for (std::size_t k = 0; k < kPageSize / 8; ++k) {
            std::atomic_ref(words[k]).store(word_of(page + 2, k), std::memory_order_relaxed);
          }
        } else {
          // Somebody may be writing it: one word is either the old one or the new one.
          auto* words = reinterpret_cast<std::uint64_t*>(page_at(region, page));
          const std::uint64_t seen = std::atomic_ref(words[1]).load(std::memory_order_relaxed);
          std::uint64_t old = 0;
          std::memcpy(&old, memory.page(page) + 8, sizeof old);
          wrong += seen == old || seen == word_of(page + 2, 1) ? 0 : 1;
        }
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong, 0);
}

TEST_P(EngineImage, a_file_may_be_deleted_or_replaced_while_it_is_in_use) {
  save("image");
  Region one = restored("image");
  PlainSnapshot other(kPages);
  ASSERT_TRUE(save_to(Snapshot(&other), file("image")));
  Region two = restored("image");
  std::filesystem::remove(file("image"));
  for (std::uint64_t page = 0; page < kPages; page += 11) {
    ASSERT_TRUE(same_page(one, page, memory)) << page;
    ASSERT_TRUE(same_page(two, page, other)) << page;
  }
}

TEST_P(EngineImage, what_is_freed_or_cut_off_does_not_come_back) {
  save("image");
  Region region = restored("image");
  EXPECT_TRUE(same_page(region, 3, memory));
  ASSERT_TRUE(region.advise(0, 64 * kPageSize, Advice::free));
  ASSERT_TRUE(region.resize((kPages - 64) * kPageSize));
  ASSERT_TRUE(region.resize(kPages * kPageSize));
  const std::vector<std::byte> zeros(kPageSize);
  for (std::uint64_t page = 0; page < kPages; ++page) {
    if (page < 64 || page >= kPages - 64) {
      ASSERT_EQ(std::memcmp(page_at(region, page), zeros.data(), kPageSize), 0) << page;
    } else {
      ASSERT_TRUE(same_page(region, page, memory)) << page;
    }
  }
}

TEST_P(EngineImage, descriptors_work_and_stay_the_callers_own) {
  const int fd = ::open(file("image").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  ASSERT_TRUE(holdfast::save(snapshot, fd));
  auto region = restore(*engine, fd);
  ASSERT_TRUE(region) << region.error().message();
  EXPECT_EQ(::close(fd), 0);
  for (std::uint64_t page = 0; page < kPages; page += 5) {
    ASSERT_TRUE(same_page(*region, page, memory)) << page;
  }
}

TEST_P(EngineImage, a_torn_or_foreign_image_is_refused_and_nothing_is_restored) {
  save("image");
  const auto bytes = std::filesystem::file_size(file("image"));
  std::filesystem::resize_file(file("image"), bytes - 1);
  const auto torn = restore_from(*engine, file("image"));
  ASSERT_FALSE(torn);
  EXPECT_EQ(torn.error().code, Errc::corrupted);
  EXPECT_GT(torn.error().value, 0u) << "the offset";
  EXPECT_EQ(restore_from(*engine, "/dev/null").error().code, Errc::invalid_argument);
  EXPECT_EQ(restore_from(*engine, file("none")).error().code, Errc::not_found);
  EXPECT_EQ(restore(*engine, -1).error().code, Errc::invalid_argument);
  EXPECT_EQ(restore(*engine, Image()).error().code, Errc::not_found);
  EXPECT_EQ(engine->stats().managed_bytes, 0u);
}

TEST_P(EngineImage, several_regions_stand_in_one_image) {
  PlainSnapshot second(100);
  write_page(second.page(99), 7);
  const Snapshot other(&second);
  const Snapshot* const both[] = {&snapshot, &other};
  const auto report = save_to(both, file("both"));
  ASSERT_TRUE(report);
  EXPECT_EQ(report->memory_bytes, memory.size() + second.size());
  const auto image = Image::open(file("both"));
  ASSERT_TRUE(image);
  EXPECT_EQ(image->info().region_bytes, (std::vector<std::uint64_t>{memory.size(), second.size()}));
  auto one = restore(*engine, *image, {.region = 1, .capacity = 200 * kPageSize});
  ASSERT_TRUE(one) << one.error().message();
  for (std::uint64_t page = 0; page < 100; ++page) ASSERT_TRUE(same_page(*one, page, second));
  ASSERT_TRUE(one->resize(200 * kPageSize));
  EXPECT_EQ(page_at(*one, 150)[5], std::byte{0}) << "beyond the image there are zeros";
  auto none = restore(*engine, *image, {.region = 2});
  ASSERT_FALSE(none);
  EXPECT_EQ(none.error().code, Errc::invalid_argument);
}

TEST_P(EngineImage, incremental_images_restore_with_their_bases) {
  save("monday");
  const auto monday = Image::open(file("monday"));
  ASSERT_TRUE(monday);
  PlainSnapshot later(kPages);
  later.memory = memory.memory;
  for (std::uint64_t page = 10; page < 20; ++page) write_page(later.page(page), 5000 + page);
  const Snapshot tuesday(&later);
  SaveOptions options{.base = &*monday, .since = &snapshot};
  const auto report = save_to(tuesday, file("tuesday"), options);
  ASSERT_TRUE(report) << report.error().message();
  EXPECT_EQ(report->data_bytes, 10 * kPageSize);
  EXPECT_EQ(later.read_bytes, 10 * kPageSize) << "what has not changed is not read";
  EXPECT_EQ(Image::open(file("tuesday"))->info().images, 2u);
  Region region = restored("tuesday");
  for (std::uint64_t page = 0; page < kPages; ++page) {
    ASSERT_TRUE(same_page(region, page, later)) << page;
  }
  std::filesystem::remove(file("monday"));
  EXPECT_EQ(restore_from(*engine, file("tuesday")).error().code, Errc::not_found);
}

TEST_P(EngineImage, a_since_that_the_base_does_not_hold_is_refused) {
  save("monday");
  const auto monday = Image::open(file("monday"));
  PlainSnapshot later(kPages);
  const Snapshot tuesday(&later);
  SaveOptions options{.base = &*monday, .since = &tuesday};
  EXPECT_EQ(save_to(snapshot, file("x"), options).error().code, Errc::invalid_argument);
  options = {.since = &snapshot};
  EXPECT_EQ(save_to(tuesday, file("x"), options).error().code, Errc::invalid_argument) << "no base";
  save("again");  // now it was saved to another image last
  options = {.base = &*monday, .since = &snapshot};
  EXPECT_EQ(save_to(tuesday, file("x"), options).error().code, Errc::invalid_argument);
  EXPECT_FALSE(std::filesystem::exists(file("x")));
}

TEST_P(EngineImage, saving_can_be_watched_and_stopped) {
  std::uint64_t last = 0;
  SaveOptions options;
  options.progress_context = &last;
  options.progress = [](const ImageProgress& progress, void* context) {
    auto& seen = *static_cast<std::uint64_t*>(context);
    EXPECT_GT(progress.bytes_done, seen);
    seen = progress.bytes_done;
    return true;
  };
  save("image", options);
  EXPECT_EQ(last, memory.size());
  options.progress = [](const ImageProgress& progress, void*) {
    return progress.bytes_done < progress.bytes_in_all / 2;
  };
  const auto report = save_to(snapshot, file("image"), options);
  ASSERT_FALSE(report);
  EXPECT_EQ(report.error().code, Errc::cancelled);
  EXPECT_TRUE(Image::open(file("image"))->verify()) << "the one that was there";
  EXPECT_EQ(directory.names().size(), 1u);
}

TEST_P(EngineImage, interrupt_context_and_empty_snapshots_are_refused) {
  EXPECT_EQ(save_to(Snapshot(), file("image")).error().code, Errc::not_mapped);
  save("image");
  const auto image = Image::open(file("image"));
  const sync::InterruptScope interrupt;
  EXPECT_EQ(save_to(snapshot, file("x")).error().code, Errc::interrupt_context);
  EXPECT_EQ(Image::open(file("image")).error().code, Errc::interrupt_context);
  EXPECT_EQ(image->verify().error().code, Errc::interrupt_context);
  EXPECT_EQ(restore(*engine, *image).error().code, Errc::interrupt_context);
}

INSTANTIATE_TEST_SUITE_P(Deliveries, EngineImage,
                         testing::Values(FaultDelivery::signal, FaultDelivery::thread),
                         [](const auto& one) {
                           return one.param == FaultDelivery::signal ? "signal" : "thread";
                         });

// --- an image that fails while it is in use ---

struct Mending {
  int fd = -1;
  std::vector<std::byte> bytes;
  std::atomic<int> calls{0};
  Error error{};
};

OnError mend_file(const Error& error, std::uintptr_t, void* context) noexcept {
  auto& mending = *static_cast<Mending*>(context);
  mending.error = error;
  if (mending.calls.fetch_add(1) > 0) return OnError::terminate;
  const auto wrote = ::pwrite(mending.fd, mending.bytes.data(), mending.bytes.size(), 0);
  return wrote == static_cast<ssize_t>(mending.bytes.size()) ? OnError::retry : OnError::terminate;
}

// The file is hurt by `hurt` after the restore; the handler puts it right.
template <class Hurt>
Error fault_on_hurt_file(Hurt hurt) {
  const tests::TempDirectory directory;
  PlainSnapshot memory(512);
  fill(memory);
  EXPECT_TRUE(save_to(Snapshot(&memory), directory.file("image")));
  Mending mending;
  mending.fd = ::open(directory.file("image").c_str(), O_RDWR | O_CLOEXEC);
  mending.bytes.resize(std::filesystem::file_size(directory.file("image")));
  EXPECT_EQ(::pread(mending.fd, mending.bytes.data(), mending.bytes.size(), 0),
            static_cast<ssize_t>(mending.bytes.size()));
  Options options = small_options();
  options.on_error = mend_file;
  options.on_error_context = &mending;
  const auto engine = make_engine(options);
  {
    auto region = restore(*engine, mending.fd);
    EXPECT_TRUE(region);
    hurt(mending.fd, mending.bytes.size());
    for (std::uint64_t page = 0; page < 512; ++page) EXPECT_TRUE(same_page(*region, page, memory));
  }
  EXPECT_EQ(mending.calls, 1);
  EXPECT_TRUE(engine->check_all());
  ::close(mending.fd);
  return mending.error;
}

TEST(EngineImageErrors, a_file_that_was_cut_short_is_an_error_with_offset_and_errno) {
  const Error error =
      fault_on_hurt_file([](int fd, std::size_t size) { (void)!::ftruncate(fd, long(size / 2)); });
  EXPECT_EQ(error.code, Errc::io_error);
  EXPECT_EQ(error.os_errno, EIO);
  EXPECT_GT(error.value, 128u);
}

TEST(EngineImageErrors, a_page_that_does_not_match_its_hash_is_an_error_with_its_offset) {
  const Error error = fault_on_hurt_file([](int fd, std::size_t) {
    const char flip = 'x';
    (void)!::pwrite(fd, &flip, 1, 300);  // in the first group's hashes
  });
  EXPECT_EQ(error.code, Errc::corrupted);
  EXPECT_EQ(error.value, 128u) << "where the group begins";
}

}  // namespace
}  // namespace holdfast::engine::test
