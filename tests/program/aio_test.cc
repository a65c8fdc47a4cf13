// The queue on the simulated machine: random operations on files and streams, by several threads,
// while reclaim takes what it can, regions are unmapped and interrupts cancel. A device works
// between any two steps, and aborts the run when a pinned page is not where it was; it fails, is
// short, and ends transfers by itself.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <optional>
#include <vector>

#include "aio/aio.h"
#include "base/base.h"
#include "engine/engine_on.h"
#include "holdfast/holdfast.h"
#include "support/seed.h"
#include "sys/sim.h"

namespace holdfast::aio::test {
namespace {

using sys::FailureKind;
using sys::SimMachine;
using sys::SimOptions;

constexpr std::uint64_t kFilePages = 64;
constexpr std::uint64_t kRegionPages = 3 * Engine::kMinimumBudget / kPageSize / 8;

std::byte byte_of(std::uint64_t offset) {
  return static_cast<std::byte>((offset >> 12) * 31 + offset * 7 + 1);
}

struct Totals {
  std::uint64_t operations = 0, whole = 0, shorter = 0, errors = 0, cancelled = 0, late = 0;
  std::uint64_t full = 0, swapped = 0, unmapped = 0;
};

// One machine, one engine, one queue, and a few threads of a program.
class Story {
 public:
  Story(std::uint64_t seed, Totals& totals)
      : seed_(seed), random_(seed), totals_(totals), machine_(options_of(seed)) {}

  void run() {
    const auto outcome = machine_.run([this] { main(); });
    EXPECT_EQ(outcome, sys::RunOutcome::finished) << machine_.report();
  }

 private:
  static SimOptions options_of(std::uint64_t seed) {
    SimOptions options = SimOptions::swarm(seed);
    options.failures_per_million = {};
    sys::SimRandom random(seed ^ 0x55);
    if (random.chance(1, 2)) options.rate(FailureKind::async_error) = 30'000;
    if (random.chance(1, 2)) options.rate(FailureKind::async_short) = 100'000;
    if (random.chance(1, 2)) options.rate(FailureKind::async_ended) = 100'000;
    if (random.chance(1, 2)) options.rate(FailureKind::move_busy) = 50'000;
    return options;
  }

  void main() {
    std::vector<std::byte> content(kFilePages * kPageSize);
    for (std::uint64_t i = 0; i < content.size(); ++i) content[i] = byte_of(i);
    file_ = machine_.open_device_file(content);
    stream_ = machine_.open_device_stream();
    Options options;
    options.memory_budget = Engine::kMinimumBudget / 8;
    options.window_pages = 8;
    engine_ = std::move(*engine::create_on(machine_, options));
    region_ = std::move(*engine_->map_anonymous(kRegionPages * kPageSize));
    AioOptions queue;
    queue.queue_limit = static_cast<std::uint32_t>(random_.between(1, 4));
    queue.drain = random_.chance(1, 2) ? AioDrain::thread : AioDrain::caller;
    aio_ = std::move(*create_on(machine_, *engine_, queue));
    machine_.set_interrupt_handler([this] { interrupt(); });
    std::vector<sys::SimThreadState*> threads;
    for (std::uint64_t t = 0; t < 3; ++t) {
      threads.push_back(&machine_.spawn("program", [this, t] { work(t); }));
    }
    threads.push_back(&machine_.spawn("reclaim", [this] { reclaim(); }));
    for (std::uint64_t t = 0; t < 3; ++t) machine_.join(*threads[t]);
    done_ = true;
    machine_.join(*threads[3]);
    machine_.set_interrupt_handler(nullptr);
    end();
  }

  void end() {
    silent_read();
    aio_.reset();  // with one in flight
    EXPECT_TRUE(silent_done_);
    const Stats stats = engine_->stats();
    EXPECT_EQ(stats.pins, 0u);
    totals_.swapped += stats.faults_swap + stats.faults_rescued;
    EXPECT_TRUE(region_.unmap());
    for (int i = 0; i < 100 && !engine_->check_all(); ++i) machine_.sleep_ns(1'000'000);
    EXPECT_TRUE(engine_->check_all());
    engine_.reset();
  }

  void silent_read() {
    const Buffer in(region_.data(), 100);
    AioRequest request = AioRequest::read(stream_, {&in, 1});
    request.context = this;
    request.on_complete = [](const AioCompletion&, void* self) noexcept {
      static_cast<Story*>(self)->silent_done_ = true;
    };
    EXPECT_TRUE(aio_->submit({&request, 1}));
  }

  // Cancels whatever, now and then.
  void interrupt() {
    const InterruptScope scope;
    EXPECT_EQ(aio_->submit({}).error().code, Errc::interrupt_context);
    const AioTicket ticket{.place = static_cast<std::uint32_t>(seed_ % 4),
                           .turn = static_cast<std::uint32_t>(++interrupts_ % 64)};
    (void)aio_->cancel(ticket);
  }

  void reclaim() {
    while (!done_) {
      (void)engine_->reclaim(32);
      machine_.sleep_ns(10'000);
    }
  }

  // Each thread has its own part of the region, so that it knows what stands there.
  void work(std::uint64_t thread) {
    sys::SimRandom random(seed_ * 8 + thread);
    const std::uint64_t pages = kRegionPages / 3;
    const std::uint64_t base = thread * pages;
    for (int i = 0; i < 24; ++i) {
      if (random.chance(1, 8)) {
        read_and_unmap(random);
      } else {
        transfer(random, base, pages);
      }
    }
  }

  void transfer(sys::SimRandom& random, std::uint64_t base, std::uint64_t pages) {
    const std::uint64_t offset = random.below((kFilePages - 4) * kPageSize);
    const std::uint64_t bytes = random.between(1, 4 * kPageSize);
    const std::uint64_t at = base * kPageSize + random.below((pages - 4) * kPageSize);
    // In two pieces, which may lie in one page.
    const std::uint64_t cut = random.below(bytes);
    const std::array<Buffer, 2> buffers = {
        {{region_.data() + at, cut}, {region_.data() + at + cut, bytes - cut}}};
    AioRequest request = AioRequest::read(file_, buffers, offset);
    if (random.chance(1, 4)) request.timeout_ns = random.between(1, 100'000);
    auto future = aio_->start(request);
    if (!future) {
      EXPECT_EQ(future.error().code, Errc::would_block) << future.error().message();
      ++totals_.full;
      machine_.sleep_ns(1000);
      return;
    }
    ++totals_.operations;
    if (random.chance(1, 6)) future->cancel();
    const auto got = future->wait();
    judge(got, bytes);
    const std::uint64_t landed = got.value_or(0);
    std::vector<std::byte> seen(landed);
    ASSERT_TRUE(machine_.load(reinterpret_cast<Address>(region_.data() + at), seen.data(), landed));
    for (std::uint64_t i = 0; i < landed; ++i) ASSERT_EQ(seen[i], byte_of(offset + i)) << i;
  }

  void judge(const Expected<std::uint64_t>& got, std::uint64_t asked) {
    if (got) {
      EXPECT_GE(asked, *got);
      ++(*got == asked ? totals_.whole : totals_.shorter);
      return;
    }
    switch (got.error().code) {
      case Errc::io_error:
        ++totals_.errors;
        break;
      case Errc::cancelled:
        ++totals_.cancelled;
        break;
      case Errc::timed_out:
        ++totals_.late;
        break;
      default:
        ADD_FAILURE() << got.error().message();
    }
  }

  // The region goes while its pages are being read into.
  void read_and_unmap(sys::SimRandom& random) {
    auto other = engine_->map_anonymous(8 * kPageSize);
    if (!other) return;
    const Buffer in(other->data() + random.below(kPageSize), 6 * kPageSize);
    auto future = aio_->start(AioRequest::read(file_, {&in, 1}, 0));
    if (random.chance(1, 2)) machine_.sleep_ns(random.below(100'000));
    EXPECT_TRUE(other->unmap());
    if (!future) return;
    ++totals_.unmapped;
    judge(future->wait(), in.bytes);
  }

  const std::uint64_t seed_;
  sys::SimRandom random_;
  Totals& totals_;
  SimMachine machine_;
  int file_ = -1, stream_ = -1;
  std::unique_ptr<Engine> engine_;
  Region region_;
  std::unique_ptr<Aio> aio_;
  bool done_ = false;
  bool silent_done_ = false;
  std::uint32_t interrupts_ = 0;
};

TEST(SimAio, every_byte_lands_where_its_owner_looks_whatever_happens_around_it) {
  const std::uint64_t first = tests::test_seed();
  Totals totals;
  const std::uint64_t seeds = tests::seed_count(1000);
  for (std::uint64_t i = 0; i < seeds && !testing::Test::HasFailure(); ++i) {
    HF_SEED_TRACE(first + i);
    Story(first + i, totals).run();
  }
  if (seeds < 100) return;
  EXPECT_GT(totals.whole, totals.operations / 4);
  EXPECT_GT(totals.shorter, 0u);
  EXPECT_GT(totals.errors, 0u);
  EXPECT_GT(totals.cancelled, 0u);
  EXPECT_GT(totals.late, 0u);
  EXPECT_GT(totals.full, 0u);
  EXPECT_GT(totals.swapped, 0u);
  EXPECT_GT(totals.unmapped, 0u);
}

// --- one thing at a time ---

class SimAioCase : public testing::Test {
 protected:
  template <class Body>
  void on_machine(Body body) {
    SimMachine machine(SimOptions{});
    const auto outcome = machine.run([&] {
      Options options;
      options.memory_budget = Engine::kMinimumBudget;
      auto engine = engine::create_on(machine, options);
      ASSERT_TRUE(engine);
      auto region = (*engine)->map_anonymous(16 * kPageSize);
      ASSERT_TRUE(region);
      auto aio = create_on(machine, **engine, {});
      ASSERT_TRUE(aio);
      body(machine, *region, **aio);
    });
    EXPECT_EQ(outcome, sys::RunOutcome::finished) << machine.report();
  }
};

TEST_F(SimAioCase, a_device_error_is_an_io_error_and_lets_go_of_the_buffer) {
  on_machine([](SimMachine& machine, Region& region, Aio& aio) {
    const std::vector<std::byte> content(kPageSize, std::byte{9});
    const int file = machine.open_device_file(content);
    const Buffer in(region.data(), kPageSize);
    machine.failures().fail_at(FailureKind::async_error, 1, sys::Repeat::once);
    auto future = aio.start(AioRequest::read(file, {&in, 1}, 0));
    const auto failed = future->wait();
    ASSERT_FALSE(failed);
    EXPECT_EQ(failed.error().code, Errc::io_error);
    EXPECT_EQ(failed.error().os_errno, EIO);
    EXPECT_TRUE(region.advise(0, region.size(), Advice::free)) << "no pin is left";
    EXPECT_EQ(aio.start(AioRequest::read(file, {&in, 1}, 0))->wait().value_or(0), kPageSize);
  });
}

TEST_F(SimAioCase, what_the_system_ends_by_itself_is_begun_again_so_many_times) {
  on_machine([](SimMachine& machine, Region& region, Aio& aio) {
    const std::vector<std::byte> content(kPageSize, std::byte{9});
    const int file = machine.open_device_file(content);
    const Buffer in(region.data(), kPageSize);
    machine.failures().fail_at(FailureKind::async_ended, 1, sys::Repeat::once);
    EXPECT_EQ(aio.start(AioRequest::read(file, {&in, 1}, 0))->wait().value_or(0), kPageSize);
    machine.failures().fail_at(FailureKind::async_ended, 1, sys::Repeat::forever);
    const auto ended = aio.start(AioRequest::read(file, {&in, 1}, 0))->wait();
    EXPECT_EQ(ended.error().code, Errc::cancelled);
  });
}

TEST_F(SimAioCase, a_stream_gives_what_it_is_fed_until_it_ends) {
  on_machine([](SimMachine& machine, Region& region, Aio& aio) {
    const int stream = machine.open_device_stream();
    const Buffer in(region.data(), kPageSize);
    auto future = aio.start(AioRequest::read(stream, {&in, 1}));
    EXPECT_EQ(future->wait(1'000'000).error().code, Errc::timed_out);
    const std::vector<std::byte> some(10, std::byte{3});
    machine.feed(stream, some);
    EXPECT_EQ(future->wait().value_or(0), 10u);
    machine.end_stream(stream);
    EXPECT_EQ(aio.start(AioRequest::read(stream, {&in, 1}))->wait().value_or(9), 0u);
  });
}

// What the story relies on: a transfer into memory that nobody holds does not pass unseen.
TEST_F(SimAioCase, a_device_aborts_where_a_page_is_not_held) {
  const auto transfer_unpinned = [this] {
    on_machine([](SimMachine& machine, Region& region, Aio&) {
      const std::vector<std::byte> content(kPageSize, std::byte{9});
      auto io = machine.open_async_io({});
      const sys::IoPart part{.data = region.data(), .bytes = kPageSize};
      const sys::AsyncRequest request{.id = 1,
                                      .kind = sys::AsyncKind::read,
                                      .fd = machine.open_device_file(content),
                                      .offset = 0,
                                      .parts = &part,
                                      .count = 1};
      (*io)->submit({&request, 1});
      sys::AsyncCompletion done;
      while ((*io)->reap({&done, 1}, sys::AsyncIo::kForever, 1) == 0) {
      }
    });
  };
  EXPECT_DEATH(transfer_unpinned(), "page != nullptr");
}

TEST_F(SimAioCase, an_unknown_descriptor_is_an_error_of_the_completion) {
  on_machine([](SimMachine&, Region& region, Aio& aio) {
    const Buffer in(region.data(), kPageSize);
    const auto result = aio.start(AioRequest::read(7, {&in, 1}, 0))->wait();
    EXPECT_EQ(result.error().os_errno, EBADF);
  });
}

}  // namespace
}  // namespace holdfast::aio::test
