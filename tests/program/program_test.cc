// Random programs by the thousand. HOLDFAST_SIM_SEEDS=N says how many (default 10^5, times
// HOLDFAST_SEED_FACTOR), HOLDFAST_SIM_FIRST=F where to begin (default 1), HOLDFAST_SEED=x replays
// exactly one.
#include <gtest/gtest.h>

#include <unistd.h>
#include <algorithm>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "program/program.h"

namespace holdfast::tests {
namespace {

std::uint64_t from_environment(const char* variable, std::uint64_t otherwise) {
  const char* text = std::getenv(variable);
  return text == nullptr ? otherwise : std::strtoull(text, nullptr, 0);
}

// `usual` times HOLDFAST_SEED_FACTOR, at least 1.
std::uint64_t scaled(std::uint64_t usual) {
  const char* text = std::getenv("HOLDFAST_SEED_FACTOR");
  const double factor = text == nullptr ? 1.0 : std::strtod(text, nullptr);
  return std::max<std::uint64_t>(1,
                                 static_cast<std::uint64_t>(static_cast<double>(usual) * factor));
}

// A failed HF_CHECK aborts: say which seed it was, and what the program had been doing.
Program* running_program = nullptr;

void tell_seed(int signal) {
  Program* program = std::exchange(running_program, nullptr);
  if (program != nullptr) {
    const std::string text = program->report();
    static_cast<void>(!write(STDERR_FILENO, text.data(), text.size()));
  }
  std::signal(signal, SIG_DFL);
  std::raise(signal);
}

class RandomPrograms : public testing::Test {
 protected:
  static void SetUpTestSuite() { std::signal(SIGABRT, &tell_seed); }
  static void TearDownTestSuite() { std::signal(SIGABRT, SIG_DFL); }

  // Runs one; returns the hash of its trace.
  std::uint64_t run(const ProgramShape& shape) {
    Program program(shape);
    running_program = &program;
    program.run();
    running_program = nullptr;
    EXPECT_FALSE(program.failed()) << program.report();
    add(program.probes());
    injected_ = shape.exact.n != 0 ? program.machine().failures().injected(shape.exact.kind) : 0;
    return program.machine().trace_hash();
  }
  void add(const ProgramProbes& probes) {
    // Counters only: the sum of two is the sum of their words.
    static_assert(sizeof(ProgramProbes) % sizeof(std::uint64_t) == 0);
    std::uint64_t mine[sizeof(ProgramProbes) / sizeof(std::uint64_t)];
    std::uint64_t theirs[std::size(mine)];
    std::memcpy(mine, &sum_, sizeof mine);
    std::memcpy(theirs, &probes, sizeof theirs);
    for (std::size_t i = 0; i < std::size(mine); ++i) mine[i] += theirs[i];
    std::memcpy(&sum_, mine, sizeof mine);
  }

  ProgramProbes sum_;
  std::uint64_t injected_ = 0;  // of the exact failure of the last program
};

void print(const ProgramProbes& p) {
  const auto n = [](std::uint64_t value) { return static_cast<unsigned long long>(value); };
  std::printf("  %llu programs, %llu operations, %llu loads, %llu stores\n", n(p.programs),
              n(p.operations), n(p.loads), n(p.stores));
  std::printf(
      "  interrupts inside the engine %llu: unpins %llu, frees %llu, refusals %llu, "
      "deferred %llu\n",
      n(p.interrupts_inside), n(p.unpins_in_interrupt), n(p.frees_in_interrupt),
      n(p.refusals_in_interrupt), n(p.deferred));
  std::printf("  fatal accesses %llu, errors excused %llu, creations failed %llu\n",
              n(p.fatal_accesses), n(p.errors_excused), n(p.creations_failed));
  std::printf(
      "  faults: swap %llu, rescued %llu, same-filled %llu, spurious %llu, waited %llu, "
      "again %llu, runs %llu (moved %llu)\n",
      n(p.faults_swap), n(p.faults_rescued), n(p.faults_same_filled), n(p.faults_spurious),
      n(p.faults_waited), n(p.faults_again), n(p.runs), n(p.runs_moved));
  std::printf("  copies made %llu, read %llu; pages copied %llu, lifted %llu\n", n(p.copies_made),
              n(p.copies_read), n(p.cow_copied), n(p.cow_lifted));
  std::printf(
      "  evicted: clean %llu, written %llu; skipped pinned %llu, orphans %llu, written back "
      "%llu, hash mismatches %llu, write-outs failed %llu\n",
      n(p.evicted_clean), n(p.evicted_written), n(p.skipped_pinned), n(p.orphans_freed),
      n(p.written_back), n(p.hash_mismatches), n(p.write_out_failed));
}

// The seeds in equal parts, so that ctest can run them side by side.
constexpr std::uint64_t kParts = 8;
class PartsOfRandomPrograms : public RandomPrograms,
                              public testing::WithParamInterface<std::uint64_t> {};

TEST_P(PartsOfRandomPrograms, agree_with_plain_memory_whatever_the_seed) {
  if (std::getenv("HOLDFAST_SEED") != nullptr) {
    // One part is enough, and the seed says which.
    const std::uint64_t seed = from_environment("HOLDFAST_SEED", 0);
    if (seed % kParts == GetParam()) run(ProgramShape::draw(seed));
    return;
  }
  const std::uint64_t all = from_environment("HOLDFAST_SIM_SEEDS", scaled(100000));
  const std::uint64_t part_begin = all * GetParam() / kParts;
  const std::uint64_t seeds = all * (GetParam() + 1) / kParts - part_begin;
  const std::uint64_t first = from_environment("HOLDFAST_SIM_FIRST", 1) + part_begin;
  for (std::uint64_t seed = first; seed < first + seeds && !HasFailure(); ++seed) {
    run(ProgramShape::draw(seed));
  }
  print(sum_);
  if (seeds < 1000 || HasFailure()) return;
  // The paths that the programs are for did run.
  EXPECT_GT(sum_.faults_swap, 0U);
  EXPECT_GT(sum_.faults_rescued, 0U);
  EXPECT_GT(sum_.faults_same_filled, 0U);
  EXPECT_GT(sum_.evicted_clean, 0U);
  EXPECT_GT(sum_.evicted_written, 0U);
  EXPECT_GT(sum_.skipped_pinned, 0U);
  EXPECT_GT(sum_.orphans_freed, 0U);
  EXPECT_GT(sum_.interrupts_inside, 0U);
  EXPECT_GT(sum_.unpins_in_interrupt, 0U);
  EXPECT_GT(sum_.frees_in_interrupt, 0U);
  EXPECT_GT(sum_.refusals_in_interrupt, 0U);
  EXPECT_GT(sum_.fatal_accesses, 0U);
  EXPECT_GT(sum_.copies_made, 0U);
  EXPECT_GT(sum_.copies_read, 0U);
  EXPECT_GT(sum_.cow_copied, 0U);
  EXPECT_GT(sum_.cow_lifted, 0U);
  EXPECT_LT(sum_.creations_failed, sum_.programs / 4);
}

INSTANTIATE_TEST_SUITE_P(Part, PartsOfRandomPrograms,
                         testing::Range(std::uint64_t{0}, std::uint64_t{kParts}));

// Seeds that found what no other test had: each names a bug that was.
TEST_F(RandomPrograms, that_failed_once_pass) {
  for (const std::uint64_t seed : {
           16462ULL,  // freed while its image was stored, though it had been shared anew
           40661ULL,  // out of frames, because others took those that were free
       }) {
    run(ProgramShape::draw(seed));
  }
}

TEST_F(RandomPrograms, run_the_same_way_twice) {
  const std::uint64_t first = from_environment("HOLDFAST_SEED", 1);
  const std::uint64_t count = std::getenv("HOLDFAST_SEED") != nullptr ? 1 : 50;
  for (std::uint64_t seed = first; seed < first + count; ++seed) {
    const ProgramShape shape = ProgramShape::draw(seed);
    const std::uint64_t once = run(shape);
    EXPECT_EQ(once, run(shape)) << "HOLDFAST_SEED=" << seed;
  }
}

TEST_F(RandomPrograms, agree_with_plain_memory_where_a_tier_is_far) {
  const std::uint64_t first = from_environment("HOLDFAST_SEED", 1);
  const std::uint64_t count = std::getenv("HOLDFAST_SEED") != nullptr ? 1 : scaled(300);
  for (std::uint64_t seed = first; seed < first + count && !HasFailure(); ++seed) {
    SCOPED_TRACE("HOLDFAST_SEED=" + std::to_string(seed));
    ProgramShape shape = ProgramShape::draw_sound(seed);
    shape.engine.swap.back() = {.kind = SwapTier::Kind::rados, .far = {.pool = "pool"}};
    run(shape);
  }
  EXPECT_GT(sum_.faults_swap, 0U);
}

// A failure at the n-th call of its kind, once and for ever, for every n until the program makes
// no n-th call.
class ExactFailures : public RandomPrograms,
                      public testing::WithParamInterface<sys::FailureKind> {};

TEST_P(ExactFailures, at_every_place_are_ridden_out_or_told) {
  const std::uint64_t places_max = from_environment("HOLDFAST_SIM_PLACES", scaled(400));
  const std::uint64_t seed = from_environment("HOLDFAST_SEED", 42);
  for (const sys::Repeat repeat : {sys::Repeat::once, sys::Repeat::forever}) {
    // A retry of EAGAIN for ever is no machine's failure but a hang, and not ours to end.
    if (repeat == sys::Repeat::forever && (GetParam() == sys::FailureKind::copy_again ||
                                           GetParam() == sys::FailureKind::protect_again ||
                                           GetParam() == sys::FailureKind::move_again)) {
      continue;
    }
    ProgramShape shape = ProgramShape::draw_sound(seed);
    for (std::uint64_t n = 1; n <= places_max && !HasFailure(); ++n) {
      shape.exact = {GetParam(), n, repeat};
      SCOPED_TRACE("failure " + std::to_string(n) + " of " + sys::name(GetParam()));
      run(shape);
      if (injected_ != 0) continue;
      // There is no n-th call. Of moves there may be none at all: they are the engine's choice.
      const bool optional =
          GetParam() == sys::FailureKind::move_again || GetParam() == sys::FailureKind::move_busy;
      EXPECT_TRUE(n > 1 || optional) << "the program never makes such a call";
      break;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(
    EveryKind, ExactFailures,
    testing::Values(sys::FailureKind::reserve, sys::FailureKind::register_range,
                    sys::FailureKind::open_faults, sys::FailureKind::copy_again,
                    sys::FailureKind::copy_memory, sys::FailureKind::move_again,
                    sys::FailureKind::move_busy, sys::FailureKind::protect_again,
                    sys::FailureKind::remap_out, sys::FailureKind::discard,
                    sys::FailureKind::thread_start, sys::FailureKind::file_create,
                    sys::FailureKind::file_read, sys::FailureKind::file_write,
                    sys::FailureKind::file_full, sys::FailureKind::file_corrupt),
    [](const auto& kind) { return std::string(sys::name(kind.param)); });

}  // namespace
}  // namespace holdfast::tests
