// pin/resident: pin and unpin of resident pages, against the registration of a buffer with io_uring
// and its removal: what a program without Holdfast does to have memory held still.
#include <fmt/format.h>
#include <liburing.h>
#include <sys/uio.h>

#include <memory>
#include <string>

#include "comparison.h"
#include "paging/engine_side.h"
#include "plain_memory.h"

namespace holdfast::bench {
namespace {

constexpr std::uint64_t kBudget = 256ull << 20;
constexpr std::uint64_t kSetBytes = 32ull << 20;  // the working set, all resident
constexpr std::uint64_t kPins = 1'000'000;
constexpr std::uint64_t kRegistrations = 50'000;

enum Part : unsigned { kOnePage, kManyPages };
std::uint64_t pages_of(unsigned part) { return part == kOnePage ? 1 : 64; }

// Nanoseconds for each of `ops` times hold(address, bytes), at random places of the set.
template <class Hold>
Result<double> measure(Workload& workload, std::uint64_t ops, unsigned part, Hold&& hold) {
  const std::uint64_t pages = pages_of(part);
  const std::uint64_t last = kSetBytes / kPageBytes - pages;
  std::uint64_t refused = 0;
  const double start = now_seconds();
  for (std::uint64_t op = 0; op < ops; ++op) {
    std::uint64_t page = workload.next_page(Work::random_read);
    if (page > last) page -= pages;
    refused += hold(workload.address_of(page), pages * kPageBytes) ? 0 : 1;
  }
  const double seconds = now_seconds() - start;
  if (refused != 0) return failure(fmt::format("{} of {} were refused", refused, ops));
  return seconds * 1e9 / double(ops);
}

class Pins final : public Worker {
 public:
  explicit Pins(std::uint64_t ops) : ops_(ops) {}

  Result<void> prepare() override {
    auto engine = make_engine(Medium::zram, kBudget, "/var/tmp");
    if (!engine) return std::unexpected(engine.error());
    engine_ = std::move(*engine);
    auto region = engine_->map_anonymous(kSetBytes);
    if (!region) return engine_trouble(region.error());
    region_ = std::move(*region);
    workload_ = std::make_unique<Workload>(region_.data(), 0, kSetBytes / kPageBytes, kSideSeed);
    workload_->fill();
    return {};
  }
  Result<double> round(unsigned part) override {
    const std::uint64_t faults = engine_->stats().faults;
    auto figure = measure(*workload_, ops_ / (part == kOnePage ? 1 : 16), part,
                          [this](const std::byte* address, std::size_t bytes) {
                            return engine_->pin(address, bytes).has_value();
                          });
    if (engine_->stats().faults != faults) return failure("a page of the set was not resident");
    return figure;
  }
  std::string report() override { return "ours: " + engine_->stats().to_string(); }

 private:
  std::uint64_t ops_;
  std::unique_ptr<Engine> engine_;
  Region region_;
  std::unique_ptr<Workload> workload_;
};

class Registrations final : public Worker {
 public:
  explicit Registrations(std::uint64_t ops) : ops_(ops) {}
  ~Registrations() override {
    if (open_) io_uring_queue_exit(&ring_);
  }

  Result<void> prepare() override {
    auto memory = PlainMemory::map(kSetBytes);
    if (!memory) return std::unexpected(memory.error());
    memory_ = std::move(*memory);
    workload_ = std::make_unique<Workload>(memory_->data(), 0, kSetBytes / kPageBytes, kSideSeed);
    workload_->fill();
    const int result = io_uring_queue_init(8, &ring_, 0);
    if (result < 0) return skip(fmt::format("io_uring is refused here: errno {}", -result));
    open_ = true;
    return {};
  }
  Result<double> round(unsigned part) override {
    return measure(*workload_, ops_, part, [this](std::byte* address, std::size_t bytes) {
      const iovec buffer{.iov_base = address, .iov_len = bytes};
      return io_uring_register_buffers(&ring_, &buffer, 1) == 0 &&
             io_uring_unregister_buffers(&ring_) == 0;
    });
  }
  std::string report() override { return "peer: io_uring_register_buffers and its removal"; }

 private:
  std::uint64_t ops_;
  io_uring ring_{};
  bool open_ = false;
  std::unique_ptr<PlainMemory> memory_;
  std::unique_ptr<Workload> workload_;
};

Result<Outcome> compare(const Run& run) {
  const std::uint64_t pins = run.scaled(kPins), registrations = run.scaled(kRegistrations);
  return compare_sides(
      run, {.unit = "ns"}, [=] { return std::make_unique<Pins>(pins); },
      [=] { return std::make_unique<Registrations>(registrations); },
      {{kOnePage}, {kManyPages, "pin/resident 64 pages"}});
}

}  // namespace

void add_pins(Registry& registry) {
  registry.push_back({"pin/resident", 20,
                      "pin and unpin of a resident page; peer: io_uring buffer registration and "
                      "its removal",
                      compare});
}

}  // namespace holdfast::bench
