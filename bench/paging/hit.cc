// paging/hit: pin, load, unpin of a page that is resident, against vmcache's fix and unfix.
#include <fmt/format.h>

#include <memory>
#include <vector>

#include "comparison.h"
#include "paging/engine_side.h"
#include "paging/vmcache_state.h"
#include "plain_memory.h"

namespace holdfast::bench {
namespace {

constexpr std::uint64_t kBudget = 512ull << 20;
constexpr std::uint64_t kSetBytes = 64ull << 20;  // the working set: 16,384 pages, all resident
constexpr std::uint64_t kOps = 5'000'000;

enum Part : unsigned { kRandomPages, kOneHotPage };

// The loop that both sides run; `hold(page)` returns something that lets go at the end of the
// scope.
template <class Hold>
Result<double> measure(Workload& workload, std::uint64_t ops, unsigned part, Hold&& hold) {
  const std::uint64_t hot = workload.next_page(Work::random_read);
  Interval interval{.ops = ops};
  const double start = now_seconds();
  for (std::uint64_t op = 0; op < ops; ++op) {
    const std::uint64_t page = part == kOneHotPage ? hot : workload.next_page(Work::random_read);
    const std::byte* const address = workload.address_of(page);
    const auto held = hold(page, address);
    if (!held || load_word(address) != page_tag(page)) ++interval.wrong;
  }
  interval.seconds = now_seconds() - start;
  auto right = checked(interval);
  if (!right) return std::unexpected(right.error());
  return right->microseconds_per_op() * 1e3;
}

class PinnedPages final : public Worker {
 public:
  PinnedPages(std::uint64_t bytes, std::uint64_t ops) : bytes_(bytes), ops_(ops) {}

  Result<void> prepare() override {
    auto engine = make_engine(Medium::zram, kBudget, "/var/tmp");
    if (!engine) return std::unexpected(engine.error());
    engine_ = std::move(*engine);
    auto region = engine_->map_anonymous(bytes_);
    if (!region) return engine_trouble(region.error());
    region_ = std::move(*region);
    workload_ = std::make_unique<Workload>(region_.data(), 0, bytes_ / kPageBytes, kSideSeed);
    workload_->fill();
    return {};
  }
  Result<double> round(unsigned part) override {
    const std::uint64_t faults = engine_->stats().faults;
    auto figure = measure(*workload_, ops_, part, [this](std::uint64_t, const std::byte* address) {
      return engine_->pin(address, sizeof(std::uint64_t));
    });
    if (engine_->stats().faults != faults) return failure("a page of the set was not resident");
    return figure;
  }
  std::string report() override { return "ours: " + engine_->stats().to_string(); }

 private:
  std::uint64_t bytes_;
  std::uint64_t ops_;
  std::unique_ptr<Engine> engine_;
  Region region_;
  std::unique_ptr<Workload> workload_;
};

// vmcache's guard: fixes in its constructor, unfixes in its destructor.
class VmcacheGuard {
 public:
  explicit VmcacheGuard(VmcacheState& state) noexcept : state_(state), fixed_(state.fix_shared()) {}
  ~VmcacheGuard() {
    if (fixed_) state_.unfix_shared();
  }
  VmcacheGuard(const VmcacheGuard&) = delete;
  VmcacheGuard& operator=(const VmcacheGuard&) = delete;
  explicit operator bool() const noexcept { return fixed_; }

 private:
  VmcacheState& state_;
  const bool fixed_;
};

class VmcachePages final : public Worker {
 public:
  VmcachePages(std::uint64_t bytes, std::uint64_t ops)
      : bytes_(bytes), ops_(ops), states_(bytes / kPageBytes) {}

  Result<void> prepare() override {
    auto memory = PlainMemory::map(bytes_);
    if (!memory) return std::unexpected(memory.error());
    memory_ = std::move(*memory);
    workload_ = std::make_unique<Workload>(memory_->data(), 0, bytes_ / kPageBytes, kSideSeed);
    workload_->fill();
    for (VmcacheState& state : states_) state.set_resident();
    return {};
  }
  Result<double> round(unsigned part) override {
    return measure(*workload_, ops_, part, [this](std::uint64_t page, const std::byte*) {
      return VmcacheGuard(states_[page]);
    });
  }
  std::string report() override { return "vmcache: fixS, load, unfixS; two CAS an operation"; }

 private:
  std::uint64_t bytes_;
  std::uint64_t ops_;
  std::vector<VmcacheState> states_;
  std::unique_ptr<PlainMemory> memory_;
  std::unique_ptr<Workload> workload_;
};

Result<Outcome> compare(const Run& run) {
  const std::uint64_t bytes = run.scaled(kSetBytes);
  const std::uint64_t ops = run.scaled(kOps);
  return compare_sides(
      run, {.unit = "ns"}, [=] { return std::make_unique<PinnedPages>(bytes, ops); },
      [=] { return std::make_unique<VmcachePages>(bytes, ops); },
      {{kRandomPages}, {kOneHotPage, "paging/hit one hot page"}});
}

}  // namespace

void add_hit(Registry& registry) {
  registry.push_back({"paging/hit", 1,
                      "pin, load, unpin of random resident pages; peer: vmcache's fix and unfix",
                      compare});
}

}  // namespace holdfast::bench
