// Our side: commits to a mapped file, and mapping it after a crash.
#include <fmt/format.h>
#include <holdfast/file.h>
#include <holdfast/holdfast.h>

#include <cstring>
#include <vector>

#include "files/commit_side.h"
#include "files/file_memory.h"
#include "paging/engine_side.h"
#include "workload.h"

namespace holdfast::bench {
namespace {

constexpr std::uint64_t kSeed = 20;

FileOptions options_of(const CommitScene& scene) {
  FileOptions options;
  options.commits = true;
  options.journal_limit = scene.journal_limit;
  return options;
}

Result<std::unique_ptr<Engine>> make_file_engine(const CommitScene& scene) {
  return make_engine(Medium::zram, 2 * scene.pages * kPageBytes, "/var/tmp");
}

class MappedCommits final : public Worker {
 public:
  explicit MappedCommits(const CommitScene& scene) : scene_(scene), content_(kPageBytes) {}

  Result<void> prepare() override {
    auto engine = make_file_engine(scene_);
    if (!engine) return std::unexpected(engine.error());
    engine_ = std::move(*engine);
    auto mapping = map_file(*engine_, scene_.path, options_of(scene_));
    if (!mapping) return engine_trouble(mapping.error());
    mapping_ = std::move(*mapping);
    if (auto there = mapping_.prefetch(0, mapping_.size()); !there) {
      return engine_trouble(there.error());
    }
    return {};
  }

  Result<double> round(unsigned) override {
    const double start = now_seconds();
    for (std::uint64_t commit = 0; commit < scene_.commits; ++commit) {
      for (std::uint64_t i = 0; i < scene_.changed; ++i) store_page(random_.below(scene_.pages));
      if (auto durable = mapping_.commit(); !durable) return engine_trouble(durable.error());
    }
    return (now_seconds() - start) * 1e3 / double(scene_.commits);
  }

  std::string report() override {
    return fmt::format("ours: {}\n{}", engine_->description(), engine_->stats().to_string());
  }

 private:
  void store_page(std::uint64_t page) {
    store_word(content_.data(), random_.next());  // no two are alike
    std::memcpy(mapping_.data() + page * kPageBytes, content_.data(), kPageBytes);
  }

  const CommitScene scene_;
  std::vector<std::byte> content_;
  std::unique_ptr<Engine> engine_;
  FileMapping mapping_;  // before the engine in destruction
  Random random_{kSeed};
};

class Recovery final : public Worker {
 public:
  explicit Recovery(const CommitScene& scene) : scene_(scene) {}

  Result<void> prepare() override {
    auto engine = make_file_engine(scene_);
    if (!engine) return std::unexpected(engine.error());
    engine_ = std::move(*engine);
    return {};
  }

  Result<double> round(unsigned) override {
    const double start = now_seconds();
    auto mapping = map_file(*engine_, scene_.path, options_of(scene_));
    const double seconds = now_seconds() - start;
    if (!mapping) return engine_trouble(mapping.error());
    if (auto gone = mapping->unmap(); !gone) return engine_trouble(gone.error());
    return seconds;
  }

  std::string report() override { return fmt::format("ours: {}", engine_->description()); }

 private:
  const CommitScene scene_;
  std::unique_ptr<Engine> engine_;
};

}  // namespace

std::unique_ptr<Worker> make_mapped_commits(const CommitScene& scene) {
  return std::make_unique<MappedCommits>(scene);
}

std::unique_ptr<Worker> make_recovery(const CommitScene& scene) {
  return std::make_unique<Recovery>(scene);
}

}  // namespace holdfast::bench
