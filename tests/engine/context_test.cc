// The matrix of wrong contexts: every task-only function of the public API, called by a handler
// that interrupted ordinary code, and by one that interrupted the engine. Each is refused, and
// nothing has changed.
#include <gtest/gtest.h>
#include <signal.h>

#include <array>
#include <optional>

#include "engine/real_engine.h"
#include "support/signal_storm.h"
#include "sync/sync.h"

namespace holdfast::engine::test {
namespace {

// What the calls work on.
struct Bench {
  std::unique_ptr<Engine> engine;
  Region region;
  Region cold;  // never touched: nothing of it is resident
  PinAccountId account{};
  RegionResource* resource = nullptr;
};

// One function: true if it was refused.
struct Call {
  const char* name;
  bool (*refused)(Bench& bench);
  bool allocates = false;  // by throwing: not for a handler that may have interrupted malloc
};

template <class T>
bool says_interrupt(const Expected<T>& result) {
  return !result && result.error().code == Errc::interrupt_context;
}

// Made beforehand: options hold a vector, and a handler must not allocate.
const Options kOptions = small_options();

const std::array kCalls = {
    Call{"Engine::create", [](Bench&) { return says_interrupt(Engine::create(kOptions)); }},
    Call{"Engine::map_anonymous",
         [](Bench& b) { return says_interrupt(b.engine->map_anonymous(kMiB)); }},
    Call{"Engine::pin",
         [](Bench& b) { return says_interrupt(b.engine->pin(page_at(b.cold, 4), 1)); }},
    Call{
        "Engine::pin of several pages",
        [](Bench& b) { return says_interrupt(b.engine->pin(page_at(b.cold, 0), 40 * kPageSize)); }},
    Call{"Engine::pin on account",
         [](Bench& b) {
           return says_interrupt(b.engine->pin(page_at(b.cold, 4), 1, Access::write, b.account));
         }},
    Call{"Engine::open_pin_account",
         [](Bench& b) { return says_interrupt(b.engine->open_pin_account("late", 1)); }},
    Call{"Engine::close_pin_account",
         [](Bench& b) { return says_interrupt(b.engine->close_pin_account(b.account)); }},
    Call{"Engine::stats", [](Bench& b) { return b.engine->stats().frames_total == 0; }},
    Call{"Engine::description", [](Bench& b) { return b.engine->description().empty(); }},
    Call{"Engine::reclaim", [](Bench& b) { return b.engine->reclaim(8) == 0; }},
    Call{"Engine::allocate_pages",
         [](Bench& b) { return says_interrupt(b.engine->allocate_pages(0)); }},
    Call{"Engine::check_all", [](Bench& b) { return !b.engine->check_all(); }},
    Call{"Engine::dump_holders",
         [](Bench& b) {
           b.engine->dump_holders(b.region.data());
           return true;  // it prints nothing
         }},
    Call{"Region::resize", [](Bench& b) { return says_interrupt(b.region.resize(kPageSize)); }},
    Call{
        "Region::advise",
        [](Bench& b) { return says_interrupt(b.region.advise(0, b.region.size(), Advice::free)); }},
    Call{"Region::prefetch",
         [](Bench& b) { return says_interrupt(b.region.prefetch(0, b.region.size())); }},
    Call{"Region::unmap", [](Bench& b) { return says_interrupt(b.region.unmap()); }},
    Call{"RegionResource::create",
         [](Bench& b) { return says_interrupt(RegionResource::create(*b.engine, kMiB)); }},
    Call{"RegionResource::allocate",
         [](Bench& b) {
           try {
             (void)b.resource->allocate(100);
             return false;
           } catch (const std::bad_alloc&) {
             return true;
           }
         },
         true},
};

// What must not change. The counter of refusals does.
struct Before {
  std::uint64_t resident, cached, slots, frames, pins, managed, allocated, accounts, refused;

  static Before of(Bench& bench) {
    const Stats s = bench.engine->stats();
    return {s.pages_resident,
            s.pages_cached,
            s.slots_used,
            s.frames_free,
            s.pins,
            s.managed_bytes,
            bench.resource->allocated_bytes(),
            s.pin_accounts.size(),
            s.refused_interrupt};
  }
};

Bench* bench = nullptr;
std::optional<Call> call;
int refusals = 0, calls = 0, inside = 0;

void make_the_call() {
  ++calls;
  refusals += call->refused(*bench) ? 1 : 0;
}

class WrongContext : public testing::TestWithParam<std::size_t> {
 protected:
  void SetUp() override {
    Options options = small_options();
    options.background_reclaim = false;  // nothing changes by itself
    own.engine = make_engine(options);
    ASSERT_NE(own.engine, nullptr);
    own.region = map(*own.engine, 64 * kPageSize);
    own.cold = map(*own.engine, 64 * kPageSize);
    const auto account = own.engine->open_pin_account("bench", 16);
    ASSERT_TRUE(account);
    own.account = *account;
    resource.emplace(*own.engine, kMiB);
    own.resource = &*resource;
    ASSERT_NE(resource->allocate(64), nullptr);
    write_pages(own.region, 0, 32, 1);
    bench = &own;
    call = kCalls[GetParam()];
    refusals = calls = inside = 0;
  }
  void TearDown() override {
    EXPECT_EQ(wrong_pages(own.region, 0, 32, 1), 0u);
    EXPECT_TRUE(all_is_well(*own.engine));
    resource.reset();
  }
  void expect_unchanged(const Before& before) {
    const Before after = Before::of(own);
    EXPECT_EQ(after.resident, before.resident);
    EXPECT_EQ(after.cached, before.cached);
    EXPECT_EQ(after.slots, before.slots);
    EXPECT_EQ(after.frames, before.frames);
    EXPECT_EQ(after.pins, before.pins);
    EXPECT_EQ(after.managed, before.managed);
    EXPECT_EQ(after.allocated, before.allocated);
    EXPECT_EQ(after.accounts, before.accounts);
    EXPECT_TRUE(own.region);
    EXPECT_EQ(own.region.size(), 64 * kPageSize);
  }

  Bench own;
  std::optional<RegionResource> resource;
};

TEST_P(WrongContext, a_handler_that_interrupted_ordinary_code_is_refused) {
  if (kUnderTsan && kCalls[GetParam()].allocates) {
    GTEST_SKIP() << "its refusal is an exception, which allocates: ThreadSanitizer says so";
  }
  const Before before = Before::of(own);
  struct sigaction action{}, old{};
  action.sa_handler = [](int) {
    const InterruptScope interrupt;
    make_the_call();
  };
  ASSERT_EQ(sigaction(SIGRTMIN + 1, &action, &old), 0);
  ASSERT_EQ(raise(SIGRTMIN + 1), 0);
  ASSERT_EQ(sigaction(SIGRTMIN + 1, &old, nullptr), 0);
  EXPECT_EQ(calls, 1);
  EXPECT_EQ(refusals, 1) << kCalls[GetParam()].name;
  expect_unchanged(before);
}

// The handler says nothing of itself: the engine knows. The scope is the one that every task-only
// function makes, with what the handler finds when it comes in between.
TEST_P(WrongContext, a_handler_that_interrupted_the_engine_is_refused) {
  if (kUnderTsan && kCalls[GetParam()].allocates) {
    GTEST_SKIP() << "its refusal is an exception, which allocates: ThreadSanitizer says so";
  }
  const Before before = Before::of(own);
  struct sigaction action{}, old{};
  action.sa_handler = [](int) {
    EXPECT_GT(sync::this_thread().engine_depth, 0);
    make_the_call();
  };
  ASSERT_EQ(sigaction(SIGRTMIN + 1, &action, &old), 0);
  {
    const sync::EngineScope engine;
    ASSERT_EQ(raise(SIGRTMIN + 1), 0);
  }
  ASSERT_EQ(sigaction(SIGRTMIN + 1, &old, nullptr), 0);
  EXPECT_EQ(calls, 1);
  EXPECT_EQ(refusals, 1) << kCalls[GetParam()].name;
  expect_unchanged(before);
}

// The same inside real operations: signals that fall between two steps of the engine's protocols.
TEST_P(WrongContext, handlers_inside_the_engine_s_own_steps_are_refused) {
  if (kCalls[GetParam()].allocates) GTEST_SKIP() << "its refusal is an exception, which allocates";
  const auto handler = [](int) {
    if (sync::this_thread().engine_depth == 0) return;
    const InterruptScope interrupt;  // so that the storm leaves the handler's own steps alone
    ++inside;
    make_the_call();
  };
  {
    const tests::SignalStorm storm(handler);
    for (int i = 0; inside < 20 && i < 100'000; ++i) {
      Region other = map(*own.engine, 16 * kPageSize);
      write_pages(other, 0, 16, 9);
      auto pin = own.engine->pin(other.data(), other.size());
      EXPECT_TRUE(pin);
      pin->reset();
      (void)own.engine->reclaim(4);
    }
  }
  EXPECT_GE(inside, 20);
  EXPECT_EQ(refusals, calls) << kCalls[GetParam()].name;
  EXPECT_TRUE(own.region);
  EXPECT_EQ(own.engine->stats().pins, 0u);
}

INSTANTIATE_TEST_SUITE_P(TaskOnly, WrongContext, testing::Range<std::size_t>(0, kCalls.size()),
                         [](const auto& p) {
                           std::string name;
                           for (const char* c = kCalls[p.param].name; *c != '\0'; ++c) {
                             if (*c == ' ' || *c == ':') {
                               if (!name.empty() && name.back() != '_') name += '_';
                             } else {
                               name += *c;
                             }
                           }
                           return name;
                         });

TEST(Contexts, a_declared_handler_is_an_interrupt_and_scopes_nest) {
  EXPECT_FALSE(in_interrupt_context());
  {
    const InterruptScope outer;
    const InterruptScope inner;
    EXPECT_TRUE(in_interrupt_context());
  }
  EXPECT_FALSE(in_interrupt_context());
}

TEST(Contexts, what_any_context_may_call_works_in_an_interrupt) {
  const auto engine = make_engine(small_options());
  ASSERT_NE(engine, nullptr);
  Region region = map(*engine, 16 * kPageSize);
  write_pages(region, 0, 16, 1);
  auto block = engine->allocate_pages(1);
  ASSERT_TRUE(block);
  static std::atomic<int> ran{0};
  ran = 0;
  {
    const InterruptScope interrupt;
    auto resident = engine->pin(page_at(region, 2), 1);
    ASSERT_TRUE(resident);
    auto tried = engine->try_pin(page_at(region, 3), 2 * kPageSize);
    ASSERT_TRUE(tried);
    resident->reset();
    tried->reset();
    EXPECT_TRUE(engine->owns(region.data()));
    EXPECT_EQ(region.size(), 16 * kPageSize);
    engine->free_pages(*block, 1);
    EXPECT_TRUE(
        engine->defer([](void*) noexcept { ran += in_interrupt_context() ? 10 : 1; }, nullptr));
    EXPECT_TRUE(region.unmap_later());
  }
  EXPECT_TRUE(all_is_well(*engine));
  EXPECT_EQ(ran, 1);
  EXPECT_EQ(engine->stats().managed_bytes, 0u);
}

}  // namespace
}  // namespace holdfast::engine::test
