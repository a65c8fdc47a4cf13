// Transfers between files, pipes, sockets and managed memory, through each backend and drain.
#include <array>
#include <atomic>
#include <cstring>

#include "aio/real_aio.h"

namespace holdfast::aio::test {
namespace {

class AioTransfers : public AioTest {};

TEST_P(AioTransfers, what_is_written_to_a_file_is_read_back) {
  for (const int flags : {0, O_DIRECT}) {
    const Descriptor file = make_file(flags);
    write_pages(region, 0, 16, 100);
    push_out(*engine);  // the buffers are brought in for it
    const Buffer out = pages_of(region, 0, 16);
    const auto written = run(AioRequest::write(file, {&out, 1}, 0));
    ASSERT_TRUE(written) << written.error().message();
    EXPECT_EQ(*written, 16 * kPageSize);
    ASSERT_TRUE(run(AioRequest::sync(file)));
    const Buffer in = pages_of(region, 32, 16);
    const auto read = run(AioRequest::read(file, {&in, 1}, 0));
    ASSERT_TRUE(read) << read.error().message();
    EXPECT_EQ(*read, 16 * kPageSize);
    for (std::uint64_t p = 0; p < 16; ++p) {
      EXPECT_TRUE(page_holds(page_at(region, 32 + p), 100 + p));
    }
    ASSERT_TRUE(region.advise(0, region.size(), Advice::free));
  }
}

TEST_P(AioTransfers, a_list_of_buffers_is_filled_in_its_order) {
  const Descriptor file = make_file();
  fill_file(file, 4, 7);
  const std::array<Buffer, 4> in = {{{page_at(region, 200), kPageSize},
                                     {page_at(region, 3) + 100, 0},
                                     {page_at(region, 100), 2 * kPageSize},
                                     {page_at(region, 5) + 8, kPageSize}}};
  const auto read = run(AioRequest::read(file, in, 0));
  ASSERT_TRUE(read) << read.error().message();
  EXPECT_EQ(*read, 4 * kPageSize);
  EXPECT_TRUE(page_holds(page_at(region, 200), 7));
  EXPECT_TRUE(page_holds(page_at(region, 100), 8));
  EXPECT_TRUE(page_holds(page_at(region, 101), 9));
  EXPECT_TRUE(page_holds(page_at(region, 5) + 8, 10));
  const Descriptor copy = make_file();
  EXPECT_EQ(run(AioRequest::write(copy, in, 0)).value_or(0), 4 * kPageSize);
  std::vector<std::byte> bytes(4 * kPageSize);
  EXPECT_EQ(::pread(copy, bytes.data(), bytes.size(), 0), long(bytes.size()));
  for (std::uint64_t p = 0; p < 4; ++p) EXPECT_TRUE(page_holds(&bytes[p * kPageSize], 7 + p));
}

TEST_P(AioTransfers, the_end_of_a_file_is_a_short_transfer_and_then_none) {
  const Descriptor file = make_file();
  fill_file(file, 3, 50);
  ASSERT_EQ(::ftruncate(file, 2 * kPageSize + 10), 0);
  const Buffer in = pages_of(region, 0, 4);
  EXPECT_EQ(run(AioRequest::read(file, {&in, 1}, 0)).value_or(0), 2 * kPageSize + 10);
  const auto at_end = run(AioRequest::read(file, {&in, 1}, 4 * kPageSize));
  ASSERT_TRUE(at_end);
  EXPECT_EQ(*at_end, 0u);
  EXPECT_EQ(aio->stats().short_transfers, 2u);
}

TEST_P(AioTransfers, pipes_and_sockets_give_what_they_have) {
  for (const auto make : {make_pipe, make_sockets}) {
    TwoEnds ends = make();
    const Buffer in = pages_of(region, 0, 4);
    auto future = aio->start(AioRequest::read(ends.read, {&in, 1}));
    ASSERT_TRUE(future);
    EXPECT_EQ(future->wait(1'000'000).error().code, Errc::timed_out) << "nothing was sent yet";
    EXPECT_FALSE(future->ready());
    write_pages(region, 16, 18, 5);
    const Buffer out = {page_at(region, 16), 5000};
    const auto sent = run(AioRequest::write(ends.write, {&out, 1}));
    ASSERT_TRUE(sent) << sent.error().message();
    EXPECT_GT(*sent, 0u);
    const auto got = future->wait();
    ASSERT_TRUE(got) << got.error().message();
    EXPECT_GT(*got, 0u);
    EXPECT_LE(*got, *sent);
    EXPECT_EQ(std::memcmp(in.data, out.data, *got), 0);
    ends.write.close();
    std::uint64_t rest = *got;
    for (;;) {
      const auto more = run(AioRequest::read(ends.read, {&in, 1}));
      ASSERT_TRUE(more) << more.error().message();
      if (*more == 0) break;
      rest += *more;
    }
    EXPECT_EQ(rest, *sent);
  }
}

TEST_P(AioTransfers, many_silent_streams_hold_up_nobody) {
  std::vector<TwoEnds> pipes;
  std::vector<AioFuture> futures;
  for (std::uint64_t i = 0; i < 40; ++i) {
    pipes.push_back(make_pipe());
    const Buffer in = pages_of(region, i, 1);
    auto future = aio->start(AioRequest::read(pipes.back().read, {&in, 1}));
    ASSERT_TRUE(future);
    futures.push_back(std::move(*future));
  }
  const Descriptor file = make_file();
  fill_file(file, 1, 9);
  const Buffer in = pages_of(region, 100, 1);
  EXPECT_EQ(run(AioRequest::read(file, {&in, 1}, 0)).value_or(0), kPageSize);
  for (std::uint64_t i = 40; i-- > 0;) {
    const auto byte = static_cast<char>(i);
    ASSERT_EQ(::write(pipes[i].write, &byte, 1), 1);
    EXPECT_EQ(futures[i].wait().value_or(0), 1u);
    EXPECT_EQ(static_cast<std::uint64_t>(*page_at(region, i)), i);
  }
}

TEST_P(AioTransfers, memory_that_is_not_the_engine_s_is_passed_as_it_is) {
  const Descriptor file = make_file();
  char text[] = "plain memory";
  const Buffer out(text, sizeof text);
  EXPECT_EQ(run(AioRequest::write(file, {&out, 1}, 0)).value_or(0), sizeof text);
  char back[sizeof text] = {};
  const std::array<Buffer, 2> in = {{{back, 5}, {page_at(region, 0), sizeof text}}};
  EXPECT_EQ(run(AioRequest::read(file, in, 0)).value_or(0), sizeof text);
  EXPECT_EQ(std::string(back, 5), "plain");
  EXPECT_EQ(std::memcmp(page_at(region, 0), " memory", 8), 0);
}

TEST_P(AioTransfers, errors_of_the_system_reach_the_completion) {
  Descriptor file = make_file(O_DIRECT);
  const Buffer in = pages_of(region, 0, 1);
  const Buffer odd = {page_at(region, 0) + 1, kPageSize};
  const auto unaligned = run(AioRequest::read(file, {&odd, 1}, 0));
  if (!unaligned) {  // a file system may take it all the same
    EXPECT_EQ(unaligned.error().code, Errc::invalid_argument);
    EXPECT_EQ(unaligned.error().os_errno, EINVAL);
  }
  const int gone = file;
  file.close();
  const auto closed = run(AioRequest::read(gone, {&in, 1}, 0));
  ASSERT_FALSE(closed);
  EXPECT_EQ(closed.error().os_errno, EBADF);
  const Descriptor read_only(::open("/etc/hostname", O_RDONLY | O_CLOEXEC));
  EXPECT_EQ(run(AioRequest::write(read_only, {&in, 1}, 0)).error().os_errno, EBADF);
  EXPECT_GE(aio->stats().failed, 2u);
}

struct Seen {
  std::atomic<int> calls{0};
  std::atomic<bool> interrupt{false}, pinned{false}, refused{false};
  std::uint64_t bytes = 0;
  Engine* engine = nullptr;
  Aio* aio = nullptr;
  const void* page = nullptr;
};

TEST_P(AioTransfers, a_callback_runs_in_interrupt_context_with_its_buffer_still_pinned) {
  const Descriptor file = make_file();
  fill_file(file, 1, 3);
  Seen seen{.engine = engine.get(), .aio = aio.get(), .page = page_at(region, 0)};
  const Buffer in = pages_of(region, 0, 1);
  AioRequest request = AioRequest::read(file, {&in, 1}, 0);
  request.on_complete = [](const AioCompletion& completion, void* context) noexcept {
    auto& what = *static_cast<Seen*>(context);
    what.interrupt = in_interrupt_context();
    what.bytes = completion.bytes.value_or(0);
    what.pinned = page_holds(static_cast<const std::byte*>(what.page), 3);
    what.refused = what.aio->submit({}).error().code == Errc::interrupt_context &&
                   what.aio->poll().error().code == Errc::interrupt_context &&
                   what.aio->wait_idle().error().code == Errc::interrupt_context;
    ++what.calls;
  };
  request.context = &seen;
  ASSERT_TRUE(aio->submit({&request, 1}));
  ASSERT_TRUE(aio->wait_idle());
  EXPECT_EQ(seen.calls, 1);
  EXPECT_EQ(seen.bytes, kPageSize);
  EXPECT_TRUE(seen.interrupt);
  EXPECT_TRUE(seen.pinned);
  EXPECT_TRUE(seen.refused);
  EXPECT_EQ(engine->stats().pins, 0u);
}

TEST_P(AioTransfers, a_buffer_is_pinned_from_submission_to_completion) {
  TwoEnds ends = make_pipe();
  const Buffer in = pages_of(region, 10, 2);
  auto future = aio->start(AioRequest::read(ends.read, {&in, 1}));
  ASSERT_TRUE(future);
  EXPECT_EQ(engine->stats().pins, 2u);
  push_out(*engine);
  EXPECT_EQ(engine->stats().pins, 2u);
  EXPECT_EQ(region.advise(0, region.size(), Advice::free).error().code, Errc::busy);
  const std::byte* const landed = page_at(region, 10);
  EXPECT_TRUE(region.unmap()) << "the owner never waits";
  std::vector<std::byte> page(kPageSize);
  write_page(page.data(), 77);
  ASSERT_EQ(::write(ends.write, page.data(), page.size()), long{kPageSize});
  EXPECT_EQ(future->wait().value_or(0), kPageSize);
  EXPECT_TRUE(all_is_well(*engine));
  EXPECT_FALSE(engine->owns(landed)) << "the last pin took the region with it";
  EXPECT_EQ(engine->stats().pins, 0u);
}

// What a transfer wrote is never taken for the clean copy in a slot.
TEST_P(AioTransfers, a_page_that_a_read_has_changed_is_not_evicted_as_clean) {
  const Descriptor file = make_file(O_DIRECT);
  fill_file(file, 64, 1000);
  write_pages(region, 0, 64, 1);
  for (std::uint64_t round = 0; round < 4; ++round) {
    push_out(*engine);  // every page has a slot with its content
    EXPECT_EQ(wrong_pages(region, 0, 64, round == 0 ? 1 : 1000), 0u);  // back, with its slot
    const Buffer in = pages_of(region, 0, 64);
    ASSERT_EQ(run(AioRequest::read(file, {&in, 1}, 0)).value_or(0), 64 * kPageSize);
    push_out(*engine);
    EXPECT_EQ(wrong_pages(region, 0, 64, 1000), 0u);
  }
  EXPECT_GT(engine->stats().evicted_clean, 0u) << "unchanged pages kept their slots";
}

INSTANTIATE_TEST_SUITE_P(Ways, AioTransfers, all_ways(), way_name);

}  // namespace
}  // namespace holdfast::aio::test
