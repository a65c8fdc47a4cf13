// The simulated swap file: what was written is read, failures come as told, and time passes.
#include <gtest/gtest.h>

#include <cstring>
#include <vector>

#include "sys/sim.h"

namespace holdfast::sys {
namespace {

constexpr std::uint64_t kExtent = 8192;
struct alignas(kPageSize) Buffer {
  std::byte bytes[kExtent];
};

class SimFileTest : public testing::Test {
 protected:
  void with_file(const SimOptions& options,
                 const std::function<void(SimMachine&, SwapFile&)>& body) {
    SimMachine machine(options);
    EXPECT_EQ(machine.run([&] {
      auto file = machine.create_swap_file({});
      ASSERT_TRUE(file);
      body(machine, **file);
    }),
              RunOutcome::finished)
        << machine.report();
  }
  static int put(SwapFile& file, std::uint64_t offset, unsigned char value) {
    static Buffer buffer;
    std::memset(buffer.bytes, value, kExtent);
    IoRequest request{buffer.bytes, kExtent, offset};
    file.write({&request, 1});
    return request.error;
  }
  static int get(SwapFile& file, std::uint64_t offset, Buffer& buffer) {
    IoRequest request{buffer.bytes, kExtent, offset};
    file.read({&request, 1});
    return request.error;
  }
};

TEST_F(SimFileTest, what_was_written_is_read_and_the_rest_is_zeros) {
  with_file({.seed = 1}, [](SimMachine& machine, SwapFile& file) {
    EXPECT_EQ(file.block_bytes(), 512U);
    EXPECT_EQ(put(file, 512, 7), 0);
    Buffer buffer;
    EXPECT_EQ(get(file, 0, buffer), 0);
    EXPECT_EQ(buffer.bytes[511], std::byte{0});
    EXPECT_EQ(buffer.bytes[512], std::byte{7});
    EXPECT_EQ(file.punch(0, kExtent), 0);
    EXPECT_EQ(get(file, 0, buffer), 0);
    EXPECT_EQ(buffer.bytes[512], std::byte{0});
    EXPECT_EQ(get(file, 512, buffer), 0);
    EXPECT_EQ(buffer.bytes[kExtent - 1], std::byte{7});  // beyond the punched range
    EXPECT_EQ(machine.sim_stats().extents_read, 3U);
  });
}

TEST_F(SimFileTest, one_extent_fails_and_the_others_do_not) {
  with_file({.seed = 1}, [](SimMachine& machine, SwapFile& file) {
    for (std::uint64_t i = 0; i < 4; ++i) EXPECT_EQ(put(file, i * kExtent, 3), 0);
    machine.failures().fail_at(FailureKind::file_read, 2, Repeat::once);
    std::vector<Buffer> buffers(4);
    std::vector<IoRequest> requests;
    for (std::uint64_t i = 0; i < 4; ++i) {
      requests.push_back({buffers[i].bytes, kExtent, i * kExtent});
    }
    file.read(requests);
    int failed = 0;
    for (std::uint64_t i = 0; i < 4; ++i) {
      failed += requests[i].error == EIO ? 1 : 0;
      EXPECT_EQ(buffers[i].bytes[0], requests[i].error == EIO ? std::byte{0xE1} : std::byte{3});
    }
    EXPECT_EQ(failed, 1);
  });
}

TEST_F(SimFileTest, a_failed_write_tears_and_a_full_disk_takes_nothing) {
  with_file({.seed = 1, .file_limit_bytes = 2 * kExtent}, [](SimMachine& machine, SwapFile& file) {
    EXPECT_EQ(put(file, 0, 1), 0);
    machine.failures().fail_at(FailureKind::file_write, 1, Repeat::once);
    EXPECT_EQ(put(file, 0, 2), EIO);
    Buffer buffer;
    EXPECT_EQ(get(file, 0, buffer), 0);
    int newer = 0;
    for (std::uint64_t at = 0; at < kExtent; at += 512) {
      newer += buffer.bytes[at] == std::byte{2} ? 1 : 0;
    }
    EXPECT_GT(newer, 0);
    EXPECT_LT(newer, 16);
    EXPECT_EQ(put(file, kExtent, 4), 0);
    EXPECT_EQ(put(file, 2 * kExtent, 4), ENOSPC);
    EXPECT_EQ(put(file, kExtent, 5), 0);  // where there is room already
    EXPECT_EQ(file.punch(0, kExtent), 0);
    EXPECT_EQ(put(file, 2 * kExtent, 4), 0);
  });
}

TEST_F(SimFileTest, a_corrupt_sector_reads_wrong_by_one_bit_until_it_is_written_again) {
  with_file({.seed = 1}, [](SimMachine& machine, SwapFile& file) {
    machine.failures().fail_at(FailureKind::file_corrupt, 1, Repeat::once);
    EXPECT_EQ(put(file, 0, 0), 0);
    Buffer first;
    Buffer second;
    EXPECT_EQ(get(file, 0, first), 0);
    EXPECT_EQ(get(file, 0, second), 0);
    EXPECT_EQ(std::memcmp(first.bytes, second.bytes, kExtent), 0);
    int bits = 0;
    for (std::byte b : first.bytes) bits += __builtin_popcount(static_cast<unsigned>(b));
    EXPECT_EQ(bits, 1);
    EXPECT_EQ(machine.sim_stats().corrupt_reads, 2U);
    EXPECT_EQ(put(file, 0, 0), 0);
    EXPECT_EQ(get(file, 0, first), 0);
    for (std::byte b : first.bytes) EXPECT_EQ(b, std::byte{0});
  });
}

TEST_F(SimFileTest, other_threads_run_while_a_transfer_is_in_flight) {
  SimOptions options{.seed = 4};
  options.switch_per_1024 = 0;
  with_file(options, [](SimMachine& machine, SwapFile& file) {
    bool done = false;
    int ran_meanwhile = 0;
    SimThreadState& other = machine.spawn("other", [&] {
      while (!done) {
        ++ran_meanwhile;
        machine.sleep_ns(1000);
      }
    });
    for (std::uint64_t i = 0; i < 8; ++i) put(file, i * kExtent, 1);
    done = true;
    machine.join(other);
    EXPECT_GT(ran_meanwhile, 8);
  });
}

TEST_F(SimFileTest, a_file_that_cannot_be_made_says_so) {
  SimMachine machine({.seed = 1});
  machine.failures().fail_at(FailureKind::file_create, 1, Repeat::once);
  auto file = machine.create_swap_file({});
  ASSERT_FALSE(file);
  EXPECT_EQ(file.error().os_errno, ENOSPC);
  EXPECT_TRUE(machine.create_swap_file({}));
}

TEST(SimFailures, the_nth_call_fails_once_or_for_ever_and_calls_are_counted) {
  SimMachine machine({.seed = 1});
  const auto reserves = [&] {
    return machine.reserve(kPageSize, kPageSize, Purpose::pool).has_value();
  };
  EXPECT_TRUE(reserves());
  machine.failures().fail_at(FailureKind::reserve, 2, Repeat::once);
  EXPECT_TRUE(reserves());
  EXPECT_FALSE(reserves());
  EXPECT_TRUE(reserves());
  machine.failures().fail_at(FailureKind::reserve, 1, Repeat::forever);
  EXPECT_FALSE(reserves());
  EXPECT_FALSE(reserves());
  machine.failures().clear();
  EXPECT_TRUE(reserves());
  EXPECT_EQ(machine.failures().count(FailureKind::reserve), 7U);
  EXPECT_EQ(machine.failures().injected(FailureKind::reserve), 3U);
  EXPECT_EQ(machine.failures().injected_in_all(), 3U);
}

}  // namespace
}  // namespace holdfast::sys
