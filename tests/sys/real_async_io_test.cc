// The real machine's asynchronous queue, through io_uring and through threads.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <string>
#include <thread>

#include "sys/sys.h"

namespace holdfast::sys {
namespace {

class RealAsyncIo : public testing::TestWithParam<AsyncBackend> {
 protected:
  void SetUp() override {
    auto opened = real_machine().open_async_io({.backend = GetParam(), .depth = 8});
    ASSERT_TRUE(opened) << opened.error().message();
    io = std::move(*opened);
    ASSERT_EQ(::pipe2(ends.data(), O_CLOEXEC), 0);
  }
  void TearDown() override {
    io.reset();
    for (const int end : ends) ::close(end);
  }
  AsyncRequest read_pipe(std::uint64_t id) {
    part = {.data = bytes.data(), .bytes = bytes.size()};
    return {.id = id, .kind = AsyncKind::read, .fd = ends[0], .parts = &part, .count = 1};
  }
  // The next completion, however often reap() returns for no reason.
  AsyncCompletion next() {
    AsyncCompletion completion;
    while (io->reap({&completion, 1}, AsyncIo::kForever, 1) == 0) {
    }
    return completion;
  }

  std::unique_ptr<AsyncIo> io;
  std::array<int, 2> ends{-1, -1};
  std::array<std::byte, 64> bytes{};
  IoPart part;
};

TEST_P(RealAsyncIo, gives_back_each_request_by_its_number) {
  const AsyncRequest request = read_pipe(42);
  io->submit({&request, 1});
  AsyncCompletion none;
  EXPECT_EQ(io->reap({&none, 1}, 0, 1), 0u);
  ASSERT_EQ(::write(ends[1], "hello", 5), 5);
  const AsyncCompletion done = next();
  EXPECT_EQ(done.id, 42u);
  EXPECT_EQ(done.result, 5);
  EXPECT_EQ(bytes[4], std::byte{'o'});
}

TEST_P(RealAsyncIo, a_reap_returns_when_it_is_woken_before_and_while_it_waits) {
  AsyncCompletion none;
  for (int i = 0; i < 100; ++i) {
    io->wake();
    EXPECT_EQ(io->reap({&none, 1}, AsyncIo::kForever, 1), 0u);
    std::thread waker([this] { io->wake(); });
    EXPECT_EQ(io->reap({&none, 1}, AsyncIo::kForever, 1), 0u);
    waker.join();
    // Some of both may have come at once; one more is all that is left.
    (void)io->reap({&none, 1}, 1, 1);
  }
}

TEST_P(RealAsyncIo, a_request_that_waits_is_cancelled_and_one_that_is_not_there_is_left_alone) {
  const AsyncRequest request = read_pipe(7);
  io->cancel(7);
  io->submit({&request, 1});
  // Where it has not come to its waiting yet, it is asked again.
  AsyncCompletion done;
  while (io->reap({&done, 1}, 1'000'000, 1) == 0) io->cancel(7);
  EXPECT_EQ(done.id, 7u);
  EXPECT_TRUE(done.result == -ECANCELED || done.result == -EINTR) << done.result;
  ASSERT_EQ(::write(ends[1], "x", 1), 1);
  const AsyncRequest again = read_pipe(8);
  io->submit({&again, 1});
  EXPECT_EQ(next().result, 1);
}

TEST_P(RealAsyncIo, waits_no_longer_than_it_is_told_to) {
  AsyncCompletion none;
  const std::uint64_t before = real_machine().now_ns();
  std::uint32_t taken = 0;
  while (real_machine().now_ns() - before < 2'000'000) {
    taken += io->reap({&none, 1}, 1'000'000, 4);
  }
  EXPECT_EQ(taken, 0u);
}

TEST_P(RealAsyncIo, an_error_is_the_result_of_the_request) {
  AsyncRequest request = read_pipe(3);
  request.fd = 987654;
  io->submit({&request, 1});
  const AsyncCompletion done = next();
  EXPECT_EQ(done.id, 3u);
  EXPECT_EQ(done.result, -EBADF);
}

INSTANTIATE_TEST_SUITE_P(Backends, RealAsyncIo,
                         testing::Values(AsyncBackend::ring, AsyncBackend::threads),
                         [](const auto& p) {
                           return p.param == AsyncBackend::ring ? "ring" : "threads";
                         });

}  // namespace
}  // namespace holdfast::sys
