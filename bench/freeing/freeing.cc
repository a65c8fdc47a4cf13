// free/owner, free/churn: three ways to free a page that is on the LRU, over the same pages.
#include <fmt/format.h>

#include <algorithm>
#include <numeric>
#include <vector>

#include "comparison.h"
#include "freeing/one_reference.h"
#include "freeing/two_references.h"
#include "workload.h"

namespace holdfast::bench {
namespace {

constexpr std::uint64_t kLivePages = 8192;     // what the owner holds at a time
constexpr std::uint64_t kOwnerPages = 16'384;  // freed in one timed run of free/owner
constexpr std::uint64_t kOwnerRuns = 32;       // such runs a round
constexpr std::uint64_t kChurnPages = 1'000'000;
constexpr std::uint32_t kBatch = 64;  // pages allocated from one scan to the next
// Pages that the VM looks at after each batch. Four fifths of them have to be nobody's to keep our
// lists level: about as many pages then wait for the VM as are in use.
constexpr std::uint32_t kLooks = 80;
constexpr std::uint32_t kFrames = 65'536;  // several times what any side needs
constexpr std::uint64_t kSeed = 20;

enum Part : unsigned { kOwner, kChurn };

struct Amounts {
  std::uint64_t live = kLivePages;
  std::uint64_t owner = kOwnerPages;
  std::uint64_t churn = kChurnPages;
};

// The loops that all three run.
template <class Protocol>
class Freeing final : public Worker {
 public:
  explicit Freeing(const Amounts& amounts) : amounts_(amounts), random_(kSeed) {}

  Result<void> prepare() override {
    auto pool = page::FramePool::create(sys::real_machine(), {.frames = kFrames});
    if (!pool) return failure(pool.error().message());
    pool_ = std::move(*pool);
    protocol_ = std::make_unique<Protocol>(*pool_);
    live_.resize(amounts_.live);
    for (page::Page*& page : live_) {
      if (page = fresh(); page == nullptr) return failure("no frame for the owner's pages");
    }
    return {};
  }

  Result<double> round(unsigned part) override { return part == kOwner ? owner() : churn(); }

  // Everybody lets go: not a page may be left on a list, or away from the free lists.
  std::string report() override {
    for (page::Page* page : live_) protocol_->put(*page);
    live_.clear();
    settle();
    const page::FrameCounts counts = pool_->counts();
    const bool whole = protocol_->listed() == 0 && counts.free == counts.total && pool_->check();
    return fmt::format("{}; most pages on the lists: {}, of which {} the owner's",
                       whole ? "every page came back" : "PAGES ARE LOST", most_listed_,
                       amounts_.live);
  }

 private:
  page::Page* fresh() noexcept {
    page::Page* const page = protocol_->allocate();
    if (page == nullptr) return nullptr;
    protocol_->add(*page);
    young_.push_back(pool_->index_of(*page));
    if (young_.size() == kBatch) {
      protocol_->age(young_);
      young_.clear();
    }
    return page;
  }

  // The VM looks at everything that is on its lists.
  void settle() {
    protocol_->age(young_);
    young_.clear();
    protocol_->scan(static_cast<std::uint32_t>(protocol_->listed()));
  }

  // What the owner waits for: only its own free is timed. Pages go in an order of their own.
  Result<double> owner() {
    double seconds = 0;
    std::vector<page::Page*> pages(amounts_.owner);
    for (std::uint64_t run = 0; run < kOwnerRuns; ++run) {
      for (page::Page*& page : pages) {
        if (page = fresh(); page == nullptr) return failure("no frame for the pages to be freed");
      }
      for (std::size_t i = pages.size(); i > 1; --i) {
        std::swap(pages[i - 1], pages[random_.below(i)]);
      }
      const double start = now_seconds();
      for (page::Page* page : pages) protocol_->put(*page);
      seconds += now_seconds() - start;
      settle();
    }
    return seconds * 1e9 / static_cast<double>(kOwnerRuns * amounts_.owner);
  }

  // A page is allocated and added, another one freed; after each batch the VM looks at
  // somewhat more pages than were added. All of it is timed.
  Result<double> churn() {
    const double start = now_seconds();
    for (std::uint64_t i = 0; i < amounts_.churn; ++i) {
      page::Page*& place = live_[random_.below(live_.size())];
      protocol_->put(*place);
      if (place = fresh(); place == nullptr) return failure("the VM frees too late");
      if (i % kBatch == 0) protocol_->scan(kLooks);
    }
    const double seconds = now_seconds() - start;
    most_listed_ = std::max(most_listed_, protocol_->listed());
    return seconds * 1e9 / static_cast<double>(amounts_.churn);
  }

  const Amounts amounts_;
  Random random_;
  std::unique_ptr<page::FramePool> pool_;
  std::unique_ptr<Protocol> protocol_;
  std::vector<page::Page*> live_;
  std::vector<FrameIndex> young_;
  std::uint64_t most_listed_ = 0;
};

template <class Peer>
Result<Outcome> compare(const Run& run, Part part) {
  const Amounts amounts{run.scaled(kLivePages), run.scaled(kOwnerPages), run.scaled(kChurnPages)};
  auto outcome = compare_sides(
      run, {.unit = "ns"}, [=] { return std::make_unique<Freeing<TwoReferences>>(amounts); },
      [=] { return std::make_unique<Freeing<Peer>>(amounts); }, {{part}});
  if (!outcome) return outcome;
  for (const std::string& note : outcome->notes) {
    if (!note.starts_with("every page")) return failure(note);
  }
  outcome->notes.front().insert(0, "ours: ");
  outcome->notes.back().insert(0, "peer: ");
  return outcome;
}

}  // namespace

void add_freeing(Registry& registry) {
  registry.push_back({"free/owner", 20,
                      "what an owner waits for when it frees a page that is on the LRU; peer: an "
                      "LRU lock safe against interrupts",
                      [](const Run& run) { return compare<IrqSafeLru>(run, kOwner); }});
  registry.push_back(
      {"free/churn/lock", 2,
       "allocate, add to the LRU, free, scan, the VM's lazy share included; peer: an "
       "LRU lock safe against interrupts",
       [](const Run& run) { return compare<IrqSafeLru>(run, kChurn); }});
  registry.push_back({"free/churn/linux24", 1, "the same; peer: Linux 2.4, mended for interrupts",
                      [](const Run& run) { return compare<Linux24Lru>(run, kChurn); }});
}

}  // namespace holdfast::bench
