// Programs by chance on a shared file: several threads store, load, pin, sync, free, map the file
// again, take snapshots and clones and push pages out, on schedules by chance; every load and, in
// the end, every byte of the file is as the model says, and every snapshot as the model was.
#include <array>
#include <map>
#include <optional>

#include "files/file_world.h"

namespace holdfast::tests {
namespace {

constexpr std::uint64_t kThreads = 3;
constexpr std::uint64_t kPages = 240;
constexpr std::uint64_t kTail = 1096;  // bytes of the last page

class Program {
 public:
  Program(std::uint64_t seed, bool commits)
      : seed_(seed),
        commits_(commits),
        with_copies_(seed % 5 < 3),
        world_(machine_options(seed), 100) {
    world_.put_file((kPages - 1) * kPageSize + kTail);
    world_.options.delivery = seed % 3 == 0 ? FaultDelivery::thread : FaultDelivery::signal;
    // Of the files without commits it writes some pages now and then; with commits nothing.
    world_.options.write_back = {.enabled = seed % 4 != 0, .interval_ms = 1, .age_ms = 0};
  }

  void run(int steps) {
    world_.run([&](Engine& engine) {
      FileMapping mapping = world_.map(engine, {.commits = commits_});
      std::vector<sys::SimThreadState*> others;
      for (std::uint64_t t = 1; t < kThreads; ++t) {
        others.push_back(
            &world_.machine.spawn("worker", [&, t] { work(engine, mapping, t, steps); }));
      }
      work(engine, mapping, 0, steps);
      for (auto* const other : others) world_.machine.join(*other);
      compare(mapping);
      ASSERT_TRUE(commits_ ? mapping.commit() : mapping.sync());
      ASSERT_TRUE(mapping.unmap());
    });
    const SimDisk::Bytes file = world_.machine.disk().bytes(FileWorld::kPath);
    for (std::uint64_t page = 0; page < kPages && !testing::Test::HasFailure(); ++page) {
      const std::uint64_t bytes = page + 1 == kPages ? kTail : kPageSize;
      for (std::uint64_t at = 0; at + 8 <= bytes; at += 8) {
        std::uint64_t value = 0;
        std::memcpy(&value, file.data() + page * kPageSize + at, sizeof value);
        ASSERT_EQ(value, expected(page, at / 8)) << "page " << page << ", seed " << seed_;
      }
    }
  }

 private:
  static sys::SimOptions machine_options(std::uint64_t seed) {
    sys::SimOptions options = sys::SimOptions::swarm(seed);
    for (const FailureKind kind :
         {FailureKind::file_read, FailureKind::file_write, FailureKind::file_full,
          FailureKind::file_corrupt, FailureKind::reserve, FailureKind::register_range,
          FailureKind::copy_memory, FailureKind::discard}) {
      options.rate(kind) = 0;
    }
    options.interrupt_per_1024 = 0;
    return options;
  }

  using Words = std::map<std::pair<std::uint64_t, std::uint64_t>, std::uint64_t>;  // page, word
  // What a thread has of copies: one snapshot, and one clone that it stores to.
  struct Copies {
    Snapshot snapshot;
    Region clone;
    Words then, now;  // its own pages of the one, of the other
  };

  void use(Engine& engine, const FileMapping& mapping, std::uint64_t thread, Copies& copies,
           sys::SimRandom& chance) {
    if (!copies.snapshot || chance.below(8) == 0) {
      copies.snapshot = Snapshot();
      auto made = engine.snapshot(mapping);
      ASSERT_TRUE(made) << made.error().message();
      copies.snapshot = std::move(*made);
      copies.then = model_[thread];
    }
    if (!copies.clone || chance.below(8) == 0) {
      copies.clone = Region();
      auto made = engine.clone(copies.snapshot);
      ASSERT_TRUE(made) << made.error().message();
      copies.clone = std::move(*made);
      copies.now = copies.then;
    }
    for (int i = 0; i < 3; ++i) {
      const std::uint64_t page = chance.below(kPages / kThreads) * kThreads + thread;
      const std::uint64_t word = chance.below(page + 1 == kPages ? kTail / 8 : kPageSize / 8);
      const std::uint64_t offset = page * kPageSize + word * 8;
      ASSERT_EQ(word_of(copies.clone.data(), offset), expected(copies.now, page, word))
          << "clone, page " << page << ", seed " << seed_;
      const std::uint64_t value = chance.next();
      ASSERT_TRUE(world_.machine.store(reinterpret_cast<Address>(copies.clone.data()) + offset,
                                       &value, sizeof value));
      copies.now[{page, word}] = value;
      std::uint64_t seen = 0;
      if (chance.below(2) == 0) {
        seen = word_of(copies.snapshot.data(), offset);
      } else {
        ASSERT_TRUE(copies.snapshot.read(offset, std::as_writable_bytes(std::span(&seen, 1))));
      }
      ASSERT_EQ(seen, expected(copies.then, page, word))
          << "snapshot, page " << page << ", seed " << seed_;
    }
  }
  std::uint64_t word_of(const std::byte* memory, std::uint64_t offset) {
    std::uint64_t value = 0;
    EXPECT_TRUE(
        world_.machine.load(reinterpret_cast<Address>(memory) + offset, &value, sizeof value))
        << world_.refused.message() << ", seed " << seed_;
    return value;
  }

  void free(FileMapping& mapping, std::uint64_t thread, std::uint64_t page) {
    const auto freed = mapping.advise(page * kPageSize, kPageSize, Advice::free);
    if (!freed) {
      ASSERT_EQ(freed.error().code, Errc::busy) << freed.error().message();
      return;
    }
    for (std::uint64_t w = 0; w < kPageSize / 8; ++w) model_[thread][{page, w}] = 0;
  }

  // Each thread has every third page for itself, and loads of the others.
  void work(Engine& engine, FileMapping& mapping, std::uint64_t thread, int steps) {
    sys::SimRandom chance(seed_ * kThreads + thread);
    std::optional<Pin> pin;
    Copies copies;
    for (int i = 0; i < steps && !testing::Test::HasFailure(); ++i) {
      const std::uint64_t page = chance.below(kPages / kThreads) * kThreads + thread;
      const std::uint64_t word = chance.below(page + 1 == kPages ? kTail / 8 : kPageSize / 8);
      const std::uint64_t offset = page * kPageSize + word * 8;
      switch (chance.below(with_copies_ ? 24 : 20)) {
        case 0: {
          auto made = engine.pin(mapping.data() + offset, 8);
          ASSERT_TRUE(made) << made.error().message();
          pin.emplace(std::move(*made));
          break;
        }
        case 1:
          pin.reset();
          break;
        case 2:
          ASSERT_TRUE(
              commits_ ? mapping.commit()
                       : mapping.sync(page * kPageSize,
                                      std::min(20 * kPageSize, mapping.size() - page * kPageSize)));
          break;
        case 3:
          (void)engine.reclaim(chance.below(40));
          break;
        case 4: {
          const FileMapping again =
              world_.map(engine, {.commits = commits_, .offset = offset, .bytes = 8});
          ASSERT_EQ(world_.word(again, 0), expected(page, word));
          break;
        }
        case 5:
          if (page + 1 < kPages) free(mapping, thread, page);
          break;
        case 6:
          (void)mapping.prefetch(page * kPageSize, 1);
          break;
        case 7:
          world_.set_word(mapping, offset, FileWorld::mark(offset));  // as the file had it at first
          model_[thread][{page, word}] = FileWorld::mark(offset);
          break;
        case 8:
          (void)world_.word(mapping, chance.below(kPages - 1) * kPageSize);  // anybody's
          break;
        case 9:
        case 10:
        case 11:
        case 12:
        case 13: {
          const std::uint64_t value = chance.next();
          world_.set_word(mapping, offset, value);
          model_[thread][{page, word}] = value;
          break;
        }
        case 20:
        case 21:
        case 22:
          use(engine, mapping, thread, copies, chance);
          break;
        default:
          ASSERT_EQ(world_.word(mapping, offset), expected(page, word))
              << "page " << page << ", seed " << seed_;
      }
    }
  }

  void compare(const FileMapping& mapping) {
    for (const auto& changes : model_) {
      for (const auto& [place, value] : changes) {
        ASSERT_EQ(world_.word(mapping, place.first * kPageSize + place.second * 8), value)
            << "page " << place.first << ", seed " << seed_;
      }
    }
  }

  [[nodiscard]] std::uint64_t expected(std::uint64_t page, std::uint64_t word) const {
    return expected(model_[page % kThreads], page, word);
  }
  static std::uint64_t expected(const Words& changes, std::uint64_t page, std::uint64_t word) {
    const auto found = changes.find({page, word});
    return found == changes.end() ? FileWorld::mark(page * kPageSize + word * 8) : found->second;
  }

  const std::uint64_t seed_;
  const bool commits_;
  const bool with_copies_;
  FileWorld world_;
  std::array<Words, kThreads> model_;
};

TEST(FileModel, SharedFilesAreAsTheModelSays) {
  const std::uint64_t seed = test_seed();
  HF_SEED_TRACE(seed);
  for (std::uint64_t i = 0; i < seed_count(160) && !testing::Test::HasFailure(); ++i) {
    Program(seed + i, false).run(300);
  }
}

TEST(FileModel, CommittedFilesAreAsTheModelSays) {
  const std::uint64_t seed = test_seed();
  HF_SEED_TRACE(seed);
  for (std::uint64_t i = 0; i < seed_count(160) && !testing::Test::HasFailure(); ++i) {
    Program(seed + i, true).run(300);
  }
}

}  // namespace
}  // namespace holdfast::tests
