// Clones, snapshots and arming: whose the sources are, and what the copies are handed out as.
#include <algorithm>
#include <functional>

#include "engine/file_handle.h"
#include "engine/paging_engine.h"
#include "engine/region_handle.h"
#include "engine/snapshot_handle.h"

namespace holdfast::engine {

using space::RegionRecord;

namespace {

// Keeps transactions out of the files, each named once, while it lives. It waits for those that are
// under way in one file with no other closed: their threads may be about to begin one in another.
class BetweenTransactions {
 public:
  explicit BetweenTransactions(std::vector<MappedFile*> files) : files_(std::move(files)) {
    for (MappedFile* file : files_) file->source().turn().take();
    for (std::size_t busy = 0; !files_.empty() && busy < files_.size();) busy = close_all(busy);
  }
  ~BetweenTransactions() {
    for (MappedFile* file : files_) {
      file->changing().open();
      file->source().turn().give();
    }
  }
  BetweenTransactions(const BetweenTransactions&) = delete;
  BetweenTransactions& operator=(const BetweenTransactions&) = delete;

 private:
  // Returns which file has a transaction under way, and all are open; their number: all are closed.
  std::size_t close_all(std::size_t first) {
    files_[first]->changing().close();
    for (std::size_t i = 0; i < files_.size(); ++i) {
      if (i == first || files_[i]->changing().try_close()) continue;
      for (std::size_t closed = 0; closed < i; ++closed) files_[closed]->changing().open();
      if (first > i) files_[first]->changing().open();
      return i;
    }
    return files_.size();
  }

  const std::vector<MappedFile*> files_;
};

// Those of the sources that have transactions, each once.
std::vector<MappedFile*> with_commits(std::span<const Source> sources) {
  std::vector<MappedFile*> files;
  for (const Source& source : sources) {
    if (source.file() == nullptr) continue;
    MappedFile& file = static_cast<FileHandle*>(source.file())->file();
    if (file.has_commits()) files.push_back(&file);
  }
  std::sort(files.begin(), files.end(), std::less<>());
  files.erase(std::unique(files.begin(), files.end()), files.end());
  return files;
}

}  // namespace

Expected<std::vector<RegionRecord*>> PagingEngine::records_of(const char* doing,
                                                              std::span<const Source> sources) {
  if (sync::in_interrupt()) return fail(refused_in_interrupt(doing));
  if (sources.empty()) {
    return fail({.code = Errc::invalid_argument,
                 .doing = doing,
                 .what = "sources",
                 .value = 0,
                 .limit = 1,
                 .remedy = "name at least one region, snapshot or file mapping"});
  }
  std::vector<RegionRecord*> records;
  for (const Source& source : sources) {
    RegionRecord* record = nullptr;
    if (source.region() != nullptr && source.region()->engine() == this) {
      record = &static_cast<RegionHandle*>(source.region())->record();
    } else if (source.snapshot() != nullptr && source.snapshot()->engine() == this) {
      record = &static_cast<SnapshotHandle*>(source.snapshot())->record();
    } else if (source.file() != nullptr && source.file()->engine() == this) {
      record = &static_cast<FileHandle*>(source.file())->file().record();
    }
    if (record == nullptr) {
      return fail({.code = Errc::not_mapped,
                   .doing = doing,
                   .what = "source that is empty, or another engine's: number",
                   .value = records.size(),
                   .remedy = "name mapped regions, snapshots and files of this engine"});
    }
    records.push_back(record);
  }
  return records;
}

Expected<std::vector<RegionRecord*>> PagingEngine::copy(const char* doing,
                                                        std::span<const Source> sources,
                                                        space::AddressSpace::CopyKind kind) {
  const std::vector<RegionRecord*> records = TRY(records_of(doing, sources));
  const sync::EngineScope scope;
  TRY_VOID(refuse_under_pressure(doing, 0));
  std::vector<RegionRecord*> made(records.size());
  const BetweenTransactions quiet(with_commits(sources));
  TRY_VOID(space_->copy(records, kind, made));
  return made;
}

Expected<std::vector<Region>> PagingEngine::clone(std::span<const Source> sources) {
  const auto made = TRY(copy("clone", sources, space::AddressSpace::CopyKind::clone));
  std::vector<Region> clones;
  clones.reserve(made.size());
  for (RegionRecord* record : made) clones.emplace_back(new RegionHandle(*this, *record));
  return clones;
}

Expected<std::vector<Snapshot>> PagingEngine::snapshot(std::span<const Source> sources) {
  const auto made = TRY(copy("snapshot", sources, space::AddressSpace::CopyKind::snapshot));
  std::vector<Snapshot> snapshots;
  snapshots.reserve(made.size());
  for (RegionRecord* record : made) snapshots.emplace_back(new SnapshotHandle(*this, *record));
  return snapshots;
}

Expected<void> PagingEngine::arm(std::span<const Source> regions) {
  const auto records = TRY(records_of("arm", regions));
  const sync::EngineScope scope;
  for (RegionRecord* record : records) TRY_VOID(space_->arm(*record));
  return {};
}

}  // namespace holdfast::engine
