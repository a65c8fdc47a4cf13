// The queue: its limit, links, deadlines, cancellation, and its end.
#include <array>
#include <atomic>
#include <thread>

#include "aio/real_aio.h"
#include "support/seed.h"
#include "sync/sync.h"

namespace holdfast::aio::test {
namespace {

class AioQueue : public AioTest {
 protected:
  // Reads that wait for pipes that nobody writes to.
  void fill_queue(std::uint32_t count, std::vector<TwoEnds>& pipes,
                  std::vector<AioTicket>& tickets) {
    for (std::uint32_t i = 0; i < count; ++i) {
      pipes.push_back(make_pipe());
      const Buffer in = pages_of(region, i, 1);
      const AioRequest request = AioRequest::read(pipes.back().read, {&in, 1});
      AioTicket ticket;
      ASSERT_TRUE(aio->submit({&request, 1}, {&ticket, 1}));
      tickets.push_back(ticket);
    }
  }
};

TEST_P(AioQueue, takes_as_many_operations_as_its_limit_says) {
  aio = open(8);
  std::vector<TwoEnds> pipes;
  std::vector<AioTicket> tickets;
  fill_queue(7, pipes, tickets);
  const Buffer in = pages_of(region, 20, 1);
  const std::array<AioRequest, 2> two = {AioRequest::read(pipes[0].read, {&in, 1}),
                                         AioRequest::read(pipes[1].read, {&in, 1})};
  const auto refused = aio->submit(two);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Errc::would_block);
  EXPECT_EQ(refused.error().limit, 8u);
  EXPECT_EQ(engine->stats().pins, 7u) << "nothing of it was accepted";
  EXPECT_EQ(aio->submit_waiting(two, 1'000'000).error().code, Errc::timed_out);
  EXPECT_EQ(aio->stats().in_flight, 7u);
  // One completes, and both fit.
  std::thread writer([&] { EXPECT_EQ(::write(pipes[3].write, "x", 1), 1); });
  EXPECT_TRUE(aio->submit_waiting(two));
  writer.join();
  EXPECT_EQ(aio->stats().in_flight_max, 8u);
  EXPECT_GE(aio->stats().refused_full, 2u);
  aio->cancel_all();
  EXPECT_TRUE(aio->wait_idle());
}

TEST_P(AioQueue, bad_requests_are_refused_as_a_whole) {
  const Descriptor file = make_file();
  const Buffer in = pages_of(region, 0, 1);
  const std::vector<Buffer> many(17, in);
  const Buffer null(nullptr, 8), beyond = pages_of(region, 255, 2), none(page_at(region, 0), 0);
  const AioRequest good = AioRequest::read(file, {&in, 1}, 0);
  AioRequest linked = good;
  linked.link = true;
  AioRequest full_sync = AioRequest::sync(file);
  full_sync.buffers = {&in, 1};
  const auto code = [&](const AioRequest& bad) {
    const std::array<AioRequest, 2> both = {good, bad};
    const auto result = aio->submit(both);
    return result ? Errc::busy : result.error().code;
  };
  EXPECT_EQ(code(AioRequest::read(-1, {&in, 1}, 0)), Errc::invalid_argument);
  EXPECT_EQ(code(AioRequest::read(file, {}, 0)), Errc::invalid_argument);
  EXPECT_EQ(code(AioRequest::read(file, many, 0)), Errc::invalid_argument);
  EXPECT_EQ(code(AioRequest::read(file, {&null, 1}, 0)), Errc::invalid_argument);
  EXPECT_EQ(code(AioRequest::read(file, {&none, 1}, 0)), Errc::invalid_argument);
  EXPECT_EQ(code(AioRequest::read(file, {&beyond, 1}, 0)), Errc::not_mapped);
  EXPECT_EQ(code(linked), Errc::invalid_argument);
  EXPECT_EQ(code(full_sync), Errc::invalid_argument);
  std::array<AioTicket, 3> tickets;
  EXPECT_EQ(aio->submit({&good, 1}, tickets).error().code, Errc::invalid_argument);
  EXPECT_EQ(aio->submit(std::vector<AioRequest>(65, good)).error().limit, 64u);
  EXPECT_EQ(aio->stats().submitted, 0u);
  EXPECT_EQ(engine->stats().pins, 0u);
  EXPECT_EQ(AioFuture().wait().error().code, Errc::invalid_argument);
  for (const std::uint32_t limit : {0U, 4097U}) {
    AioOptions options;
    options.queue_limit = limit;
    EXPECT_EQ(Aio::create(*engine, options).error().code, Errc::invalid_argument);
  }
}

TEST_P(AioQueue, buffers_are_charged_to_the_queue_s_account) {
  const auto account = engine->open_pin_account("queue", 3);
  ASSERT_TRUE(account);
  AioOptions options;
  options.backend = std::get<0>(GetParam());
  options.account = *account;
  auto own = make_aio(*engine, options);
  TwoEnds ends = make_pipe();
  const Buffer two = pages_of(region, 0, 2);
  auto first = own->start(AioRequest::read(ends.read, {&two, 1}));
  ASSERT_TRUE(first);
  const auto second = own->start(AioRequest::read(ends.read, {&two, 1}));
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code, Errc::pins_exceeded);
  EXPECT_STREQ(second.error().holders[0].name, "queue");
  first->cancel();
  EXPECT_EQ(first->wait().error().code, Errc::cancelled);
  EXPECT_TRUE(engine->close_pin_account(*account));
}

// --- contexts ---

// Every task-only function, as a handler meets it: true if it was refused.
bool all_refused(Aio& aio, Engine& engine, AioFuture& future, const AioRequest& request) {
  const auto refused = [](const auto& result) {
    return !result && result.error().code == Errc::interrupt_context;
  };
  static const AioOptions options;
  return refused(aio.submit({&request, 1})) && refused(aio.submit_waiting({&request, 1})) &&
         refused(aio.start(request)) && refused(aio.poll()) && refused(aio.wait_idle()) &&
         refused(future.wait()) && refused(Aio::create(engine, options));
}

TEST_P(AioQueue, task_only_functions_are_refused_in_interrupts_and_change_nothing) {
  TwoEnds ends = make_pipe();
  const Buffer in = pages_of(region, 0, 1);
  const AioRequest request = AioRequest::read(ends.read, {&in, 1});
  auto future = aio->start(request);
  ASSERT_TRUE(future);
  {
    const InterruptScope interrupt;  // a handler that interrupted ordinary code
    EXPECT_TRUE(all_refused(*aio, *engine, *future, request));
    EXPECT_FALSE(future->ready());
  }
  {
    const sync::EngineScope engine_scope;  // one that interrupted the engine
    EXPECT_TRUE(all_refused(*aio, *engine, *future, request));
  }
  const AioStats stats = aio->stats();
  EXPECT_EQ(stats.submitted, 1u);
  EXPECT_EQ(stats.completed, 0u);
  EXPECT_EQ(engine->stats().pins, 1u);
  {
    const InterruptScope interrupt;
    future->cancel();
  }
  EXPECT_EQ(future->wait().error().code, Errc::cancelled);
}

// --- links ---

struct Order {
  std::array<std::atomic<int>, 4> at{};
  std::atomic<int> next{1};
};

TEST_P(AioQueue, linked_operations_run_one_after_another) {
  const Descriptor file = make_file();
  write_pages(region, 0, 3, 60);
  static Order order;
  for (auto& at : order.at) at = 0;
  order.next = 1;
  const std::array<Buffer, 3> buffers = {pages_of(region, 0, 1), pages_of(region, 1, 1),
                                         pages_of(region, 8, 2)};
  std::array<AioRequest, 4> chain = {
      AioRequest::write(file, {&buffers[0], 1}, 0), AioRequest::write(file, {&buffers[1], 1}, 4096),
      AioRequest::sync(file), AioRequest::read(file, {&buffers[2], 1}, 0)};
  for (std::size_t i = 0; i < chain.size(); ++i) {
    chain[i].link = i + 1 < chain.size();
    chain[i].context = &order.at[i];
    chain[i].on_complete = [](const AioCompletion& done, void* context) noexcept {
      if (done.is_whole()) *static_cast<std::atomic<int>*>(context) = order.next++;
    };
  }
  ASSERT_TRUE(aio->submit(chain));
  ASSERT_TRUE(aio->wait_idle());
  for (int i = 0; i < 4; ++i) EXPECT_EQ(order.at[static_cast<std::size_t>(i)], i + 1);
  EXPECT_TRUE(page_holds(page_at(region, 8), 60));
  EXPECT_TRUE(page_holds(page_at(region, 9), 61));
}

TEST_P(AioQueue, a_link_that_breaks_cancels_all_that_follows_it_and_nothing_else) {
  const Descriptor file = make_file();
  const Descriptor other = make_file();
  fill_file(file, 1, 4);
  write_pages(region, 4, 8, 4);
  const Buffer in = pages_of(region, 0, 2), out = pages_of(region, 4, 1);
  static std::array<std::atomic<int>, 5> codes;
  for (auto& code : codes) code = -1;
  // The first gives one page of two: short. The fifth is not linked to it, and may be done before
  // it: it must not make the first one's file longer.
  std::array<AioRequest, 5> batch = {
      AioRequest::read(file, {&in, 1}, 0), AioRequest::write(file, {&out, 1}, 8192),
      AioRequest::sync(file), AioRequest::write(file, {&out, 1}, 16384),
      AioRequest::write(other, {&out, 1}, 32768)};
  for (std::size_t i = 0; i < batch.size(); ++i) {
    batch[i].link = i < 3;
    batch[i].context = &codes[i];
    batch[i].on_complete = [](const AioCompletion& done, void* context) noexcept {
      *static_cast<std::atomic<int>*>(context) =
          done.bytes ? 100 : static_cast<int>(done.bytes.error().code);
    };
  }
  ASSERT_TRUE(aio->submit(batch));
  ASSERT_TRUE(aio->wait_idle());
  EXPECT_EQ(codes[0], 100);
  for (std::size_t i = 1; i < 4; ++i) EXPECT_EQ(codes[i], static_cast<int>(Errc::cancelled)) << i;
  EXPECT_EQ(codes[4], 100);
  const AioStats stats = aio->stats();
  EXPECT_EQ(stats.short_transfers, 1u);
  EXPECT_EQ(stats.cancelled, 3u);
  std::byte page[kPageSize];
  EXPECT_EQ(::pread(file, page, kPageSize, 16384), 0) << "a cancelled write was not begun";
  EXPECT_EQ(engine->stats().pins, 0u);
}

// --- deadlines and cancellation ---

TEST_P(AioQueue, an_operation_whose_time_is_up_is_cancelled) {
  TwoEnds ends = make_pipe();
  const Buffer in = pages_of(region, 0, 1);
  AioRequest request = AioRequest::read(ends.read, {&in, 1});
  request.timeout_ns = 2'000'000;
  const auto late = run(request);
  ASSERT_FALSE(late);
  EXPECT_EQ(late.error().code, Errc::timed_out);
  request.timeout_ns = 60'000'000'000;
  auto future = aio->start(request);
  ASSERT_EQ(::write(ends.write, "abc", 3), 3);
  EXPECT_EQ(future->wait().value_or(0), 3u);
  EXPECT_EQ(aio->stats().timed_out, 1u);
}

TEST_P(AioQueue, deadlines_are_kept_in_any_order) {
  std::vector<TwoEnds> pipes;
  std::vector<AioFuture> futures;
  for (std::uint64_t i = 0; i < 16; ++i) {
    pipes.push_back(make_pipe());
    const Buffer in = pages_of(region, i, 1);
    AioRequest request = AioRequest::read(pipes.back().read, {&in, 1});
    request.timeout_ns = (i * 7 % 16 + 1) * 500'000;
    auto future = aio->start(request);
    ASSERT_TRUE(future);
    futures.push_back(std::move(*future));
  }
  for (AioFuture& future : futures) {
    EXPECT_EQ(future.wait().error().code, Errc::timed_out);
  }
}

TEST_P(AioQueue, an_operation_is_cancelled_from_any_context) {
  std::vector<TwoEnds> pipes;
  std::vector<AioTicket> tickets;
  fill_queue(4, pipes, tickets);
  {
    const InterruptScope interrupt;
    for (const AioTicket& ticket : tickets) EXPECT_TRUE(aio->cancel(ticket));
  }
  ASSERT_TRUE(aio->wait_idle());
  EXPECT_EQ(aio->stats().cancelled, 4u);
  for (const AioTicket& ticket : tickets) EXPECT_FALSE(aio->cancel(ticket)) << "it is over";
  EXPECT_FALSE(aio->cancel({}));
  EXPECT_FALSE(aio->cancel({.place = 9999, .turn = 1}));
}

// Either way it completes once, and what the pipe held is either in the buffer or in the pipe.
TEST_P(AioQueue, a_cancellation_that_races_with_the_completion_loses_nothing) {
  const std::uint64_t rounds = tests::seed_count(300);
  std::uint64_t completed = 0, cancelled = 0;
  TwoEnds ends = make_pipe();
  for (std::uint64_t round = 0; round < rounds; ++round) {
    const Buffer in = pages_of(region, round % 64, 1);
    auto future = aio->start(AioRequest::read(ends.read, {&in, 1}));
    ASSERT_TRUE(future);
    std::thread writer([&] { EXPECT_EQ(::write(ends.write, &round, sizeof round), 8); });
    if (round % 3 != 0) std::this_thread::yield();
    future->cancel();
    const auto got = future->wait();
    writer.join();
    std::uint64_t value = ~std::uint64_t{0};
    if (got) {
      ++completed;
      ASSERT_EQ(*got, sizeof value);
      value = *reinterpret_cast<const std::uint64_t*>(in.data);
    } else {
      ++cancelled;
      ASSERT_EQ(got.error().code, Errc::cancelled) << got.error().message();
      ASSERT_EQ(::read(ends.read, &value, sizeof value), 8);
    }
    ASSERT_EQ(value, round);
  }
  EXPECT_EQ(aio->stats().completed, rounds);
  EXPECT_EQ(aio->stats().cancelled, cancelled);
  EXPECT_EQ(completed + cancelled, rounds);
}

// io_uring ends what an ending thread had submitted; whoever waits for it need not know.
TEST_P(AioQueue, an_operation_outlives_the_thread_that_submitted_it) {
  TwoEnds ends = make_pipe();
  const Buffer in = pages_of(region, 0, 1);
  AioFuture future;
  std::thread([&] {
    auto started = aio->start(AioRequest::read(ends.read, {&in, 1}));
    ASSERT_TRUE(started);
    future = std::move(*started);
  }).join();
  EXPECT_EQ(future.wait(5'000'000).error().code, Errc::timed_out);
  ASSERT_EQ(::write(ends.write, "late", 4), 4);
  const auto got = future.wait();
  ASSERT_TRUE(got) << got.error().message();
  EXPECT_EQ(*got, 4u);
}

TEST_P(AioQueue, several_threads_submit_and_wait_at_once) {
  const Descriptor file = make_file();
  fill_file(file, 64, 500);
  std::atomic<std::uint64_t> wrong{0};
  std::vector<std::thread> threads;
  for (std::uint64_t t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (std::uint64_t i = 0; i < 200; ++i) {
        const std::uint64_t page = (i * 13 + t * 5) % 64;
        const Buffer in = pages_of(region, t * 64 + i % 64, 1);
        auto future = aio->start(AioRequest::read(file, {&in, 1}, page * kPageSize));
        if (!future || future->wait().value_or(0) != kPageSize) ++wrong;
        wrong += page_holds(static_cast<std::byte*>(in.data), 500 + page) ? 0 : 1;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong, 0u);
  EXPECT_EQ(aio->stats().completed, 800u);
}

TEST_P(AioQueue, its_end_cancels_and_waits_and_calls_every_callback) {
  static std::atomic<int> called;
  called = 0;
  std::vector<TwoEnds> pipes;
  for (std::uint64_t i = 0; i < 8; ++i) {
    pipes.push_back(make_pipe());
    const Buffer in = pages_of(region, i, 1);
    AioRequest request = AioRequest::read(pipes.back().read, {&in, 1});
    request.on_complete = [](const AioCompletion& done, void*) noexcept {
      if (!done.bytes && done.bytes.error().code == Errc::cancelled) ++called;
    };
    ASSERT_TRUE(aio->submit({&request, 1}));
  }
  aio.reset();
  EXPECT_EQ(called, 8);
  EXPECT_EQ(engine->stats().pins, 0u);
}

TEST_P(AioQueue, a_queue_with_a_thread_is_not_polled) {
  const auto polled = aio->poll(0);
  if (std::get<1>(GetParam()) == AioDrain::thread) {
    EXPECT_EQ(polled.error().code, Errc::unsupported);
  } else {
    EXPECT_EQ(polled.value_or(9), 0u);
    const Descriptor file = make_file();
    fill_file(file, 8, 1);
    std::vector<Buffer> buffers;
    for (std::uint64_t i = 0; i < 8; ++i) buffers.push_back(pages_of(region, i, 1));
    std::vector<AioRequest> requests;
    for (std::uint64_t i = 0; i < 8; ++i) {
      requests.push_back(AioRequest::read(file, {&buffers[i], 1}, i * kPageSize));
    }
    ASSERT_TRUE(aio->submit(requests));
    EXPECT_EQ(aio->poll(8).value_or(0), 8u);
    EXPECT_EQ(aio->poll(8).value_or(9), 0u) << "nothing is in flight";
    EXPECT_EQ(wrong_pages(region, 0, 8, 1), 0u);
    TwoEnds ends = make_pipe();
    const AioRequest silent = AioRequest::read(ends.read, {&buffers[0], 1});
    ASSERT_TRUE(aio->submit({&silent, 1}));
    EXPECT_EQ(aio->poll(1, 1'000'000).value_or(9), 0u);
    aio->cancel_all();  // before its descriptor is closed
    EXPECT_TRUE(aio->wait_idle());
  }
}

INSTANTIATE_TEST_SUITE_P(Ways, AioQueue, all_ways(), way_name);

}  // namespace
}  // namespace holdfast::aio::test
