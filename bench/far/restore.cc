#include "far/restore.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <vector>

#include "image/image.h"
#include "paging/engine_side.h"
#include "workload.h"

namespace holdfast::bench {
namespace {

constexpr std::uint64_t kFirstLoads = 16;
constexpr std::uint64_t kCopyBytes = 32 << 20;  // at once: eight objects are in flight

// As fast as we can: the reads of what is written next do not wait for anything but the pool.
Expected<void> copy_image(const RestoreScene& scene) {
  auto from = image::open_named_source(sys::real_machine(), scene.image);
  if (!from) return std::unexpected(from.error());
  auto to = sys::replace_file(scene.copy);
  if (!to) return std::unexpected(to.error());
  std::vector<std::byte> buffer(kCopyBytes);
  for (std::uint64_t at = 0; at < (*from)->size(); at += buffer.size()) {
    const std::uint64_t bytes = std::min<std::uint64_t>(buffer.size(), (*from)->size() - at);
    int error = (*from)->read(at, buffer.data(), bytes);
    if (error != 0) return std::unexpected((*from)->error_of(error, at));
    error = (*to)->append(buffer.data(), bytes);
    if (error != 0) return std::unexpected((*to)->error_of(error, at));
  }
  return (*to)->commit();
}

class Saver final : public Worker {
 public:
  explicit Saver(const RestoreScene& scene) : scene_(scene) {}

  Result<void> prepare() override {
    auto engine = make_engine(Medium::zram, scene_.memory_bytes * 5 / 4, "/var/tmp");
    if (!engine) return std::unexpected(engine.error());
    auto region = (*engine)->map_anonymous(scene_.memory_bytes);
    if (!region) return engine_trouble(region.error());
    Workload(region->data(), 0, scene_.memory_bytes / kPageBytes, kSideSeed).fill();
    const auto snapshot = (*engine)->snapshot(*region);
    if (!snapshot) return engine_trouble(snapshot.error());
    const auto saved = save_to(*snapshot, scene_.image);
    if (!saved) return engine_trouble(saved.error());
    report_ = fmt::format("image: {:.1f} MiB, saved in {:.2f} s",
                          double(saved->file_bytes) / (1 << 20), double(saved->nanoseconds) / 1e9);
    return {};
  }
  Result<double> round(unsigned) override {
    const auto name = sys::parse_image_name(scene_.image);
    if (!name) return engine_trouble(name.error());
    const auto removed = sys::real_machine().remove_far_image(*name);
    if (!removed) return engine_trouble(removed.error());
    return 0.0;
  }
  std::string report() override { return report_; }

 private:
  RestoreScene scene_;
  std::string report_;
};

class Restorer final : public Worker {
 public:
  explicit Restorer(const RestoreScene& scene) : scene_(scene), random_(kSideSeed) {}
  ~Restorer() override {
    if (!scene_.copy.empty()) unlink(scene_.copy.c_str());
  }

  Result<void> prepare() override { return {}; }
  Result<double> round(unsigned) override {
    auto engine = make_engine(Medium::zram, scene_.budget_bytes, "/var/tmp");
    if (!engine) return std::unexpected(engine.error());
    const double start = now_seconds();
    if (!scene_.copy.empty()) {
      if (auto copied = copy_image(scene_); !copied) return engine_trouble(copied.error());
    }
    const auto region = restore_from(**engine, scene_.copy.empty() ? scene_.image : scene_.copy);
    if (!region) return engine_trouble(region.error());
    Interval interval{.ops = kFirstLoads};
    for (std::uint64_t op = 0; op < kFirstLoads; ++op) {
      const std::uint64_t page = random_.below(scene_.memory_bytes / kPageBytes);
      if (load_word(region->data() + page * kPageBytes) != page_tag(page)) ++interval.wrong;
    }
    interval.seconds = now_seconds() - start;
    auto fine = checked(interval);
    if (!fine) return std::unexpected(fine.error());
    return fine->seconds * 1e3;
  }
  std::string report() override {
    return scene_.copy.empty() ? "ours: lazily, from the pool"
                               : "peer: copied to " + scene_.copy + " and restored from there";
  }

 private:
  RestoreScene scene_;
  Random random_;
};

}  // namespace

std::unique_ptr<Worker> make_image_saver(const RestoreScene& scene) {
  return std::make_unique<Saver>(scene);
}

std::unique_ptr<Worker> make_restorer(const RestoreScene& scene) {
  return std::make_unique<Restorer>(scene);
}

}  // namespace holdfast::bench
