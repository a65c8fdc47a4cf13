// One page of a file is one page, whoever touches it: two mappings at offsets of their own, pins,
// asynchronous transfers in and out, evictions, syncs, snapshots, and another process that reads
// the file after a sync, in any order, against a model.
#include <random>

#include "disk/disk_world.h"
#include "holdfast/aio.h"

namespace holdfast::disk::test {
namespace {

constexpr std::uint64_t kBytes = 4 * kBudget + 1111;
constexpr std::uint64_t kOffset = 5 * kPageSize + 123;  // where the second mapping begins
constexpr std::uint64_t kMost = 3 * kPageSize;          // that one step touches

// A file beside it, for transfers to come from and go to.
class Scratch {
 public:
  explicit Scratch(const std::string& path)
      : fd_(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600)) {
    EXPECT_GE(fd_, 0);
  }
  ~Scratch() { ::close(fd_); }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  [[nodiscard]] int fd() const { return fd_; }

 private:
  int fd_;
};

class World {
 public:
  World(const std::string& path, const std::string& scratch, std::uint64_t seed,
        const Options& options)
      : seed_(seed),
        chance_(seed),
        model_(marks(0, kBytes)),
        dirty_((kBytes + kPageSize - 1) / kPageSize),
        other_(path),
        scratch_(scratch),
        engine_(make_engine(options)),
        aio_(Aio::create(*engine_).value()),
        whole_(map(*engine_, path)),
        part_(map(*engine_, path, {.offset = kOffset})) {}

  void run(std::uint64_t steps) {
    for (std::uint64_t i = 0; i < steps && !testing::Test::HasFailure(); ++i) {
      // Most steps stay where the last ones were, so that most meet the page in memory.
      if (i % 128 == 0) base_ = chance_() % (kBytes - kMost);
      step(i);
    }
    pins_.clear();
    for (std::uint64_t at = 0; at < kBytes; at += kMost) {
      ASSERT_NO_FATAL_FAILURE(look_back({at, std::min(kMost, kBytes - at)}));
    }
    moments_.clear();
    ASSERT_TRUE(whole_.sync());
    dirty_.assign(dirty_.size(), false);
    EXPECT_TRUE(all_is_well(*engine_));
  }
  [[nodiscard]] const Bytes& model() const { return model_; }
  [[nodiscard]] Stats stats() { return engine_->stats(); }

 private:
  struct Place {
    std::uint64_t offset = 0;  // in the file
    std::uint64_t bytes = 0;
  };
  Place somewhere(std::uint64_t most) {
    const std::uint64_t offset = base_ + chance_() % kMost;
    return {offset, std::min(1 + chance_() % most, kBytes - offset)};
  }
  // Where the one mapping or the other shows it.
  std::byte* memory(std::uint64_t offset) {
    const bool second = offset >= kOffset && chance_() % 2 == 0;
    return second ? part_.data() + (offset - kOffset) : whole_.data() + offset;
  }

  void step(std::uint64_t i) {
    const std::uint64_t which = chance_() % 1024;
    if (which < 640) {
      const Place at = somewhere(24);
      if (chance_() % 4 == 0) base_ = base_ / 8 * 8;
      which < 400 ? look(at) : change(at);
    } else if (which < 1000) {
      look(somewhere(8));
    } else if (which < 1008) {
      pin(somewhere(kMost));
    } else if (which < 1012) {
      if (!pins_.empty()) pins_.erase(pins_.begin() + static_cast<long>(chance_() % pins_.size()));
    } else if (which < 1016) {
      transfer_in(somewhere(kMost));
    } else if (which < 1018) {
      transfer_out(somewhere(kMost));
    } else if (which == 1018) {
      i % 16 == 0 ? take_snapshot() : look_back(somewhere(kMost));
    } else if (which < 1021) {
      look_from_outside(somewhere(kMost));
    } else if (which == 1021) {
      (void)engine_->reclaim(chance_() % 200);
    } else if (which == 1022 && i % 8 == 0) {
      push_out(*engine_);
    } else {
      sync(somewhere(kMost));
    }
  }

  // Up to three moments, of which one or another goes.
  void take_snapshot() {
    if (moments_.size() == 3) moments_.erase(moments_.begin() + static_cast<long>(chance_() % 3));
    auto snapshot = engine_->snapshot(chance_() % 2 == 0 ? whole_ : part_);
    ASSERT_TRUE(snapshot) << snapshot.error().message();
    moments_.push_back({std::move(*snapshot), model_});
  }
  void look_back(Place at) {
    for (const auto& [snapshot, then] : moments_) {
      ASSERT_EQ(differences(snapshot.data() + at.offset, then.data() + at.offset, at.bytes), 0u)
          << "offset " << at.offset << ", seed " << seed_;
      Bytes bytes(at.bytes);
      ASSERT_TRUE(snapshot.read(at.offset, bytes));
      ASSERT_EQ(differences(bytes.data(), then.data() + at.offset, at.bytes), 0u)
          << "read, offset " << at.offset << ", seed " << seed_;
    }
  }

  void look(Place at) {
    ASSERT_EQ(differences(memory(at.offset), model_.data() + at.offset, at.bytes), 0u)
        << "offset " << at.offset << ", seed " << seed_;
  }
  void change(Place at) {
    std::byte* const to = memory(at.offset);
    const std::uint64_t value = chance_();
    for (std::uint64_t i = 0; i < at.bytes; ++i) {
      const auto byte = static_cast<std::byte>(value >> i % 8 * 8);
      to[i] = byte;
      model_[at.offset + i] = byte;
    }
    touched(at);
  }
  void touched(Place at) {
    for (std::uint64_t page = at.offset / kPageSize; page <= (at.offset + at.bytes - 1) / kPageSize;
         ++page) {
      dirty_[page] = true;
    }
  }
  void pin(Place at) {
    auto pin = engine_->pin(memory(at.offset), at.bytes);
    ASSERT_TRUE(pin) << pin.error().message();
    pins_.push_back(std::move(*pin));
    if (pins_.size() > 16) pins_.erase(pins_.begin());
  }
  // Reads of another file into the mapping.
  void transfer_in(Place at) {
    Bytes bytes(at.bytes);
    const std::uint64_t value = chance_();
    for (std::uint64_t i = 0; i < at.bytes; ++i) {
      bytes[i] = static_cast<std::byte>(value >> i % 8 * 8);
    }
    ASSERT_EQ(::pwrite(scratch_.fd(), bytes.data(), bytes.size(), 0),
              static_cast<ssize_t>(bytes.size()));
    const Buffer buffer{memory(at.offset), at.bytes};
    wait_for(AioRequest::read(scratch_.fd(), {&buffer, 1}, 0), at.bytes);
    std::copy(bytes.begin(), bytes.end(), model_.begin() + static_cast<long>(at.offset));
    touched(at);
  }
  void transfer_out(Place at) {
    const Buffer buffer{memory(at.offset), at.bytes};
    wait_for(AioRequest::write(scratch_.fd(), {&buffer, 1}, 0), at.bytes);
    Bytes bytes(at.bytes);
    ASSERT_EQ(::pread(scratch_.fd(), bytes.data(), bytes.size(), 0),
              static_cast<ssize_t>(bytes.size()));
    ASSERT_EQ(differences(bytes.data(), model_.data() + at.offset, at.bytes), 0u)
        << "offset " << at.offset << ", seed " << seed_;
  }
  void wait_for(const AioRequest& request, std::uint64_t bytes) {
    auto future = aio_->start(request);
    ASSERT_TRUE(future) << future.error().message();
    const auto done = future->wait();
    ASSERT_TRUE(done) << done.error().message();
    ASSERT_EQ(*done, bytes);
  }
  void sync(Place at) {
    const auto synced = whole_.sync(at.offset, at.bytes);
    ASSERT_TRUE(synced) << synced.error().message();
    for (std::uint64_t page = at.offset / kPageSize; page <= (at.offset + at.bytes - 1) / kPageSize;
         ++page) {
      dirty_[page] = false;
    }
  }
  // Before a sync somebody else may see what was stored, or not; after it he sees it.
  void look_from_outside(Place at) {
    if (chance_() % 2 == 0) sync(at);
    const Bytes bytes = other_.read(at.offset, at.bytes);
    std::uint64_t wrong = 0;
    for (std::uint64_t i = 0; i < at.bytes; ++i) {
      const bool known = !dirty_[(at.offset + i) / kPageSize];
      wrong += known && bytes[i] != model_[at.offset + i] ? 1 : 0;
    }
    ASSERT_EQ(wrong, 0u) << "offset " << at.offset << ", seed " << seed_;
  }

  const std::uint64_t seed_;
  std::mt19937_64 chance_;
  Bytes model_;
  std::vector<bool> dirty_;  // since the last sync, by page
  std::uint64_t base_ = 0;
  OtherProcess other_;  // before the engine
  Scratch scratch_;
  std::unique_ptr<Engine> engine_;
  std::unique_ptr<Aio> aio_;
  FileMapping whole_;
  FileMapping part_;
  std::vector<Pin> pins_;
  std::vector<std::pair<Snapshot, Bytes>> moments_;  // with the model as it was
};

TEST(DiskCoherence, EverybodySeesTheSamePages) {
  const std::uint64_t seed = tests::test_seed();
  HF_SEED_TRACE(seed);
  constexpr bool kShort = engine::test::kUnderTsan || engine::test::kUnderAsan;
  std::uint64_t steps = kShort ? 100'000 : 1'000'000;
  for (Options options : engines()) {
    const tests::TempDirectory directory;
    // What snapshots keep does not fit into the budget.
    options.swap.push_back({.kind = SwapTier::Kind::file, .directory = directory.path()});
    const std::string path = directory.file("file");
    ASSERT_NO_FATAL_FAILURE(put_file(path, kBytes));
    World world(path, directory.file("scratch"), seed, options);
    ASSERT_NO_FATAL_FAILURE(world.run(steps));
    steps /= 4;
    EXPECT_GT(world.stats().evicted_written, 0u);
    ASSERT_EQ(read_file(path), world.model()) << "seed " << seed;
  }
}

}  // namespace
}  // namespace holdfast::disk::test
