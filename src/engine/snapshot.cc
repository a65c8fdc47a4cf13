#include "holdfast/snapshot.h"

#include <utility>

#include "holdfast/engine.h"

namespace holdfast {
namespace {

std::unexpected<Error> no_snapshot(const char* doing) noexcept {
  return fail({.code = Errc::not_mapped,
               .doing = doing,
               .what = "snapshot",
               .remedy = "the snapshot was dropped or moved from: make one first"});
}

std::unexpected<Error> no_sharing(const char* doing) noexcept {
  return fail({.code = Errc::unsupported,
               .doing = doing,
               .remedy = "this engine cannot share pages copy-on-write"});
}

bool collect(const Run& run, void* runs) {
  static_cast<std::vector<Run>*>(runs)->push_back(run);
  return true;
}

}  // namespace

Snapshot& Snapshot::operator=(Snapshot&& other) noexcept {
  if (this != &other) {
    if (control_ != nullptr) (void)control_->drop();
    control_ = std::exchange(other.control_, nullptr);
  }
  return *this;
}

// A destructor has nobody to report to. What could not be dropped goes with its engine.
Snapshot::~Snapshot() {
  if (control_ != nullptr) (void)control_->drop();
}

Expected<void> Snapshot::read(std::uint64_t offset, std::span<std::byte> to) const {
  if (control_ == nullptr) return no_snapshot("read snapshot");
  return control_->read(offset, to);
}

Expected<void> Snapshot::visit(const Snapshot* since, bool compare,
                               detail::SnapshotControl::Visit tell, void* context) const {
  if (control_ == nullptr || (since != nullptr && since->control_ == nullptr)) {
    return no_snapshot("look through snapshot");
  }
  return control_->visit(since == nullptr ? nullptr : since->control_, compare, tell, context);
}

Expected<std::vector<Run>> Snapshot::diff(const Snapshot& earlier) const {
  std::vector<Run> runs;
  const auto done = visit(&earlier, true, &collect, &runs);
  if (!done) return std::unexpected(done.error());
  std::erase_if(runs, [](const Run& run) { return run.kind == RunKind::unchanged; });
  return runs;
}

Expected<void> Snapshot::drop() {
  if (control_ == nullptr) return no_snapshot("drop snapshot");
  auto result = control_->drop();
  if (result) control_ = nullptr;
  return result;
}

// --- what an engine without sharing answers, and the calls for one source ---

Expected<std::vector<Region>> Engine::clone(std::span<const Source>) { return no_sharing("clone"); }

Expected<std::vector<Snapshot>> Engine::snapshot(std::span<const Source>) {
  return no_sharing("snapshot");
}

Expected<void> Engine::arm(std::span<const Source>) { return no_sharing("arm"); }

Expected<Region> Engine::clone(const Source& source) {
  auto regions = clone(std::span(&source, 1));
  if (!regions) return std::unexpected(regions.error());
  return std::move(regions->front());
}

Expected<Snapshot> Engine::snapshot(const Source& source) {
  auto snapshots = snapshot(std::span(&source, 1));
  if (!snapshots) return std::unexpected(snapshots.error());
  return std::move(snapshots->front());
}

Expected<void> Engine::arm(const Source& region) { return arm(std::span(&region, 1)); }

}  // namespace holdfast
