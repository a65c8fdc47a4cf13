// Coroutines: co_await a transfer; what follows runs in task context, and may submit more.
#include <array>
#include <atomic>

#include "aio/real_aio.h"
#include "support/detached.h"

namespace holdfast::aio::test {
namespace {

using tests::Detached;

class AioCoroutines : public AioTest {
 protected:
  // Lets the queue work until `done` coroutines have ended.
  void run_until(const std::atomic<int>& done, int count) {
    const bool polls = std::get<1>(GetParam()) == AioDrain::caller;
    while (done < count) {
      if (polls) {
        ASSERT_TRUE(aio->poll(1, 10'000'000));
      } else {
        std::this_thread::yield();
      }
    }
  }
};

struct Copied {
  std::atomic<int> ended{0};
  std::atomic<int> in_interrupt{0};
  std::atomic<std::uint64_t> bytes{0};
  std::atomic<int> errors{0};
};

// Copies a file page by page through one managed page.
Detached copy_pages(Aio& aio, int from, int to, Buffer page, std::uint64_t first,
                    std::uint64_t pages, Copied& copied) {
  for (std::uint64_t p = first; p < first + pages; ++p) {
    const auto got = co_await aio.transfer(AioRequest::read(from, {&page, 1}, p * kPageSize));
    copied.in_interrupt += in_interrupt_context() ? 1 : 0;
    if (!got || *got != kPageSize) {
      ++copied.errors;
      break;
    }
    const auto put = co_await aio.transfer(AioRequest::write(to, {&page, 1}, p * kPageSize));
    if (!put || *put != kPageSize) {
      ++copied.errors;
      break;
    }
    copied.bytes += *put;
  }
  ++copied.ended;
}

TEST_P(AioCoroutines, copy_a_file_through_managed_memory) {
  const Descriptor from = make_file(O_DIRECT), to = make_file(O_DIRECT);
  constexpr std::uint64_t kWorkers = 8, kPagesEach = 16;
  fill_file(from, kWorkers * kPagesEach, 900);
  Copied copied;
  for (std::uint64_t w = 0; w < kWorkers; ++w) {
    copy_pages(*aio, from, to, pages_of(region, w, 1), w * kPagesEach, kPagesEach, copied);
  }
  run_until(copied.ended, kWorkers);
  EXPECT_EQ(copied.errors, 0);
  EXPECT_EQ(copied.in_interrupt, 0) << "a coroutine goes on in task context";
  EXPECT_EQ(copied.bytes, kWorkers * kPagesEach * kPageSize);
  const Buffer all = pages_of(region, 100, 128);
  ASSERT_EQ(run(AioRequest::read(to, {&all, 1}, 0)).value_or(0), 128 * kPageSize);
  for (std::uint64_t p = 0; p < 128; ++p) {
    EXPECT_TRUE(page_holds(page_at(region, 100 + p), 900 + p)) << p;
  }
}

Detached read_once(Aio& aio, AioRequest request, Expected<std::uint64_t>& result,
                   std::atomic<int>& ended) {
  result = co_await aio.transfer(request);
  ++ended;
}

TEST_P(AioCoroutines, get_the_error_of_a_refused_submission_without_being_suspended) {
  Expected<std::uint64_t> result = 0;
  std::atomic<int> ended{0};
  const Buffer beyond = pages_of(region, 255, 2);
  read_once(*aio, AioRequest::read(0, {&beyond, 1}, 0), result, ended);
  EXPECT_EQ(ended, 1);
  EXPECT_EQ(result.error().code, Errc::not_mapped);
}

TEST_P(AioCoroutines, get_the_error_of_a_transfer_that_was_cancelled_or_late) {
  TwoEnds ends = make_pipe();
  const Buffer in = pages_of(region, 0, 1);
  std::array<Expected<std::uint64_t>, 2> results = {0, 0};
  std::atomic<int> ended{0};
  AioRequest late = AioRequest::read(ends.read, {&in, 1});
  late.timeout_ns = 1'000'000;
  read_once(*aio, late, results[0], ended);
  run_until(ended, 1);
  EXPECT_EQ(results[0].error().code, Errc::timed_out);
  read_once(*aio, AioRequest::read(ends.read, {&in, 1}), results[1], ended);
  EXPECT_EQ(ended, 1);
  aio->cancel_all();
  run_until(ended, 2);
  EXPECT_EQ(results[1].error().code, Errc::cancelled);
}

INSTANTIATE_TEST_SUITE_P(Ways, AioCoroutines, all_ways(), way_name);

}  // namespace
}  // namespace holdfast::aio::test
