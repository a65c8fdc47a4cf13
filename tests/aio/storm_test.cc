// Storms: threads fault, pin, map, clone, take snapshots, unmap and reclaim while handlers, or
// completions of the kernel, free what the threads hand them: blocks, pins, whole regions, deferred
// calls. Nothing deadlocks, no page is lost or freed twice, and every frame is back in the end.
#include <signal.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstring>
#include <thread>
#include <vector>

#include "aio/real_aio.h"
#include "support/seed.h"
#include "sync/sync.h"

namespace holdfast::aio::test {
namespace {

// What a thread hands over to be freed by whoever interrupts: each place is filled by its thread,
// and emptied by anybody.
struct Prey {
  enum State : int { empty, full, taken };
  template <class T>
  struct Place {
    T what{};
    std::atomic<int> state{empty};
    bool take() {
      int expected = full;
      return state.compare_exchange_strong(expected, taken);
    }
  };
  std::array<Place<std::byte*>, 128> blocks;
  std::array<Place<Pin>, 16> pins;
  std::array<Place<Region>, 2> regions;
};
constexpr std::size_t kThreads = 3;
std::array<Prey, kThreads> prey;
Engine* storm_engine = nullptr;
std::atomic<std::uint64_t> frees, unpins, unmaps, copies, defers, deferred_ran;

// Any context.
void free_some(Prey& of, std::size_t most) {
  std::size_t freed = 0;
  for (auto& block : of.blocks) {
    if (freed == most) break;
    if (!block.take()) continue;
    storm_engine->free_pages(block.what, 0);
    block.state = Prey::empty;
    ++frees;
    ++freed;
  }
  for (auto& held : of.pins) {
    if (!held.take()) continue;
    held.what.reset();
    held.state = Prey::empty;
    ++unpins;
    break;
  }
  for (auto& region : of.regions) {
    if (!region.take()) continue;
    const bool gone = region.what.unmap_later().has_value();
    region.state = gone ? Prey::empty : Prey::full;  // the queue is full: another time
    unmaps += gone ? 1 : 0;
    break;
  }
  defers += storm_engine->defer([](void*) noexcept { ++deferred_ran; }, nullptr) ? 1 : 0;
}

// One thread's work.
class Worker {
 public:
  Worker(Engine& engine, const Region& shared, std::size_t number, std::uint64_t seed)
      : engine_(engine), shared_(shared), prey_(prey[number]), random_(seed * 7 + number) {}

  void round() {
    feed();
    for (int i = 0; i < 8; ++i) {
      const std::uint64_t page = chance() % pages();
      look(shared_.data(), page);
      *word_of(shared_.data(), page) = value_of(page);
    }
    copy();
    auto held = engine_.pin(shared_.data() + chance() % (pages() - 8) * kPageSize, 8 * kPageSize);
    EXPECT_TRUE(held) << held.error().message();
    (void)engine_.reclaim(16);
  }
  [[nodiscard]] std::uint64_t wrong() const { return wrong_; }

 private:
  // A page's first word is 0, or tells the page.
  static volatile std::uint64_t* word_of(const std::byte* base, std::uint64_t page) {
    return reinterpret_cast<volatile std::uint64_t*>(
        const_cast<std::byte*>(base + page * kPageSize));
  }
  static std::uint64_t value_of(std::uint64_t page) { return ~page; }
  void look(const std::byte* base, std::uint64_t page) {
    const std::uint64_t seen = *word_of(base, page);
    wrong_ += seen != 0 && seen != value_of(page) ? 1 : 0;
  }
  // Now and then a copy of all that the threads share, which is looked at, written to and dropped.
  void copy() {
    const std::uint64_t page = chance() % pages();
    if (clone_) {
      look(clone_.data(), page);
      *word_of(clone_.data(), page) = value_of(page);
    }
    if (snapshot_) look(snapshot_.data(), page);
    switch (chance() % 64) {
      case 0:
        clone_ = made(engine_.clone(shared_));
        break;
      case 1:
        snapshot_ = made(engine_.snapshot(shared_));
        break;
      case 2:
        clone_ = {};
        snapshot_ = {};
        break;
      default:
        break;
    }
  }
  template <class Copy>
  static Copy made(Expected<Copy> copy) {
    // What the others hold may leave too little room.
    EXPECT_TRUE(copy || copy.error().code == Errc::out_of_memory) << copy.error().message();
    copies += copy ? 1 : 0;
    return copy ? std::move(*copy) : Copy();
  }
  void feed() {
    for (auto& block : prey_.blocks) {
      if (block.state != Prey::empty) continue;
      auto pages = engine_.allocate_pages(0);
      ASSERT_TRUE(pages) << pages.error().message();
      wrong_ += page_is_zero(*pages) ? 0 : 1;
      (*pages)[chance() % kPageSize] = std::byte{1};
      block.what = *pages;
      block.state = Prey::full;
    }
    for (auto& held : prey_.pins) {
      if (held.state != Prey::empty) continue;
      auto pin = engine_.pin(shared_.data() + chance() % pages() * kPageSize, 1);
      ASSERT_TRUE(pin) << pin.error().message();
      held.what = std::move(*pin);
      held.state = Prey::full;
    }
    for (auto& region : prey_.regions) {
      if (region.state != Prey::empty) continue;
      region.what = map(engine_, 16 * kPageSize);
      write_pages(region.what, 0, 4, chance());
      region.state = Prey::full;
    }
  }
  [[nodiscard]] std::uint64_t pages() const { return shared_.size() / kPageSize; }
  std::uint64_t chance() {
    random_ = random_ * 6364136223846793005U + 1442695040888963407U;
    return random_ >> 33;
  }

  Engine& engine_;
  const Region& shared_;
  Prey& prey_;
  std::uint64_t random_;
  Region clone_;
  Snapshot snapshot_;
  std::uint64_t wrong_ = 0;
};

class Storm : public testing::Test {
 protected:
  static constexpr std::uint64_t kPages = 3 * kBudget / kPageSize;

  void SetUp() override {
    engine = make_engine(small_options());
    ASSERT_NE(engine, nullptr);
    storm_engine = engine.get();
    frees = unpins = unmaps = copies = defers = deferred_ran = 0;
    before = engine->stats();
    shared = map(*engine, kPages * kPageSize);
    seed = tests::test_seed();
    enough = std::max<std::uint64_t>(tests::seed_count(1'000'000), 1000);
  }
  // Lets kThreads work until enough was freed; around: what each of them does beside.
  template <class Around>
  void work(Around around) {
    std::atomic<std::uint64_t> wrong{0};
    std::vector<std::thread> threads;
    for (std::size_t t = 0; t < kThreads; ++t) {
      threads.emplace_back([&, t] {
        Worker worker(*engine, shared, t, seed);
        around(t, [&] {
          while (frees < enough && !HasFailure()) worker.round();
        });
        wrong += worker.wrong();
      });
    }
    for (std::thread& thread : threads) thread.join();
    EXPECT_EQ(wrong, 0u);
  }
  void expect_all_back() {
    for (Prey& of : prey) {
      free_some(of, of.blocks.size());
      for (auto& held : of.pins) {
        held.what.reset();
        held.state = Prey::empty;
      }
      for (auto& region : of.regions) {
        region.what = Region();
        region.state = Prey::empty;
      }
    }
    EXPECT_GE(frees, enough);
    EXPECT_GT(unpins, 0u);
    EXPECT_GT(unmaps, 0u);
    EXPECT_GT(copies, 0u);
    EXPECT_TRUE(all_is_well(*engine));
    EXPECT_TRUE(shared.unmap());
    Stats after = engine->stats();
    for (int i = 0; i < 100 && after.frames_free + after.frames_warm != before.frames_free; ++i) {
      EXPECT_TRUE(all_is_well(*engine));
      after = engine->stats();
    }
    EXPECT_EQ(after.frames_free + after.frames_warm, before.frames_free);
    EXPECT_EQ(after.slots_used + after.pins + after.managed_bytes, 0u);
    EXPECT_EQ(deferred_ran, defers);
  }

  std::unique_ptr<Engine> engine;
  Region shared;
  Stats before;
  std::uint64_t seed = 0, enough = 0;
};

// --- by signals ---

thread_local std::size_t own_number = 0;

void on_signal(int) {
  const InterruptScope interrupt;
  free_some(prey[own_number], 32);
}

// A timer that sends its thread real-time signals.
class ThreadTimer {
 public:
  explicit ThreadTimer(int number) {
    struct sigevent event{};
    event.sigev_notify = SIGEV_THREAD_ID;
    event.sigev_signo = number;
    event._sigev_un._tid = gettid();
    EXPECT_EQ(timer_create(CLOCK_MONOTONIC, &event, &timer_), 0);
    constexpr long kEveryNs = kUnderTsan ? 5'000'000 : 50'000;
    const struct itimerspec every = {.it_interval = {0, kEveryNs}, .it_value = {0, kEveryNs}};
    EXPECT_EQ(timer_settime(timer_, 0, &every, nullptr), 0);
  }
  ~ThreadTimer() { timer_delete(timer_); }
  ThreadTimer(const ThreadTimer&) = delete;
  ThreadTimer& operator=(const ThreadTimer&) = delete;

 private:
  timer_t timer_{};
};

TEST_F(Storm, of_signals_at_threads_that_do_everything_at_once) {
  HF_SEED_TRACE(seed);
  const int number = SIGRTMIN + 2;
  struct sigaction action{}, old{};
  action.sa_handler = on_signal;
  action.sa_flags = SA_RESTART;
  ASSERT_EQ(sigaction(number, &action, &old), 0);
  work([number](std::size_t thread, auto rounds) {
    own_number = thread;
    const ThreadTimer timer(number);
    rounds();
  });
  ASSERT_EQ(::signal(number, SIG_IGN), on_signal);  // one that is still queued is dropped
  ASSERT_EQ(sigaction(number, &old, nullptr), 0);
  expect_all_back();
}

// --- by completions ---

std::atomic<bool> storm_over;
std::atomic<std::uint64_t> completions;

void on_completion(const AioCompletion& done, void* context) noexcept {
  EXPECT_TRUE(done.bytes || done.bytes.error().code == Errc::cancelled);
  const std::uint64_t n = ++completions;
  free_some(prey[n % kThreads], 16);
  auto* slots = static_cast<std::atomic<int>*>(context);
  slots->store(0);
}

// A thread submits reads into the shared region's neighbour as fast as they complete.
TEST_F(Storm, of_completions_that_free_what_threads_hand_them) {
  HF_SEED_TRACE(seed);
  constexpr std::size_t kDepth = 32;
  const Descriptor file = make_file(O_DIRECT);
  fill_file(file, kDepth, 40);
  Region landing = map(*engine, kDepth * kPageSize);
  auto aio = make_aio(*engine, {.queue_limit = kDepth});
  ASSERT_NE(aio, nullptr);
  storm_over = false;
  completions = 0;
  std::thread submitter([&] {
    std::array<std::atomic<int>, kDepth> busy{};
    while (!storm_over) {
      for (std::size_t i = 0; i < kDepth; ++i) {
        if (busy[i].exchange(1) != 0) continue;
        const Buffer in = pages_of(landing, i, 1);
        AioRequest request = AioRequest::read(file, {&in, 1}, i * kPageSize);
        request.on_complete = on_completion;
        request.context = &busy[i];
        const auto accepted = aio->submit_waiting({&request, 1});
        if (!accepted) busy[i] = 0;
        EXPECT_TRUE(accepted) << accepted.error().message();
      }
      std::this_thread::yield();
    }
    EXPECT_TRUE(aio->wait_idle());
  });
  work([](std::size_t, auto rounds) { rounds(); });
  storm_over = true;
  submitter.join();
  EXPECT_EQ(wrong_pages(landing, 0, kDepth, 40), 0u);
  EXPECT_GT(completions, enough / 100);
  aio.reset();
  EXPECT_TRUE(landing.unmap());
  expect_all_back();
}

}  // namespace
}  // namespace holdfast::aio::test
