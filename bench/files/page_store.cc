#include "files/page_store.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <utility>
#include <vector>

#include "base/base.h"
#include "file/file.h"
#include "files/file_memory.h"
#include "files/shadow_file.h"
#include "paging/engine_side.h"
#include "sys/sys.h"
#include "transfer/disk_file.h"

namespace holdfast::bench {
namespace {

class JournalStore final : public PageStore {
 public:
  explicit JournalStore(const CommitScene& scene) : scene_(scene) {}

  Result<void> create(std::byte* content) override {
    content_ = content;
    if (auto written = write_all(); !written) return written;
    sys::Machine& machine = sys::real_machine();
    auto data =
        machine.open_data_file({.path = scene_.path, .use = sys::FileUse::write, .cached = true});
    if (!data) return engine_trouble(data.error());
    data_ = std::move(*data);
    if (data_->try_claim() != 0) return failure("somebody else commits to " + scene_.path);
    auto journal = file::Journal::open(machine, file::Journal::path_for(scene_.path), *data_);
    if (!journal) return engine_trouble(journal.error());
    journal_ = std::move(*journal);
    return {};
  }

  Result<void> get_ready_for(ShadowPart) override { return {}; }

  Result<void> commit(std::span<const std::uint32_t> pages, ShadowPart) override {
    const double start = now_seconds();
    for (std::size_t done = 0; done < pages.size(); done += file::kPartPages) {
      const auto some =
          pages.subspan(done).first(std::min<std::size_t>(pages.size() - done, file::kPartPages));
      if (auto added = append(some); !added) return engine_trouble(added.error());
    }
    if (auto sealed = journal_->seal(); !sealed) return engine_trouble(sealed.error());
    const double durable = now_seconds();
    if (auto applied = journal_->apply(); !applied) return engine_trouble(applied.error());
    const double applied = now_seconds();
    Result<void> result;
    if (journal_->bytes() > scene_.journal_limit) result = bring_up_to_date();
    to_be_durable_ += durable - start;
    to_apply_ += applied - durable;
    to_checkpoint_ += now_seconds() - applied;
    ++commits_;
    return result;
  }

  Result<void> bring_up_to_date() override {
    if (auto empty = journal_->checkpoint(); !empty) return engine_trouble(empty.error());
    return {};
  }

  std::uint64_t offset_of(std::uint32_t page) const override { return page * kPageBytes; }
  std::string report() override {
    const double each = 1e3 / double(std::max<std::uint64_t>(1, commits_));
    return fmt::format(
        "journal: of each commit {:.3f} ms until it is durable, {:.3f} to write it to the file, "
        "{:.3f} for checkpoints",
        to_be_durable_ * each, to_apply_ * each, to_checkpoint_ * each);
  }

 private:
  Result<void> write_all() {
    constexpr std::uint64_t kPiece = 1 << 20;
    auto fd = DiskFile::open_direct(scene_.path);
    if (!fd) return std::unexpected(fd.error());
    const std::uint64_t bytes = scene_.pages * kPageBytes;
    bool good = true;
    for (std::uint64_t at = 0; good && at < bytes; at += kPiece) {
      good = pwrite(*fd, content_ + at, kPiece, static_cast<off_t>(at)) == ssize_t{kPiece};
    }
    good = good && fdatasync(*fd) == 0;
    close(*fd);
    if (!good) return system_trouble("write " + scene_.path);
    return {};
  }
  Expected<void> append(std::span<const std::uint32_t> pages) {
    object::PageWrite writes[file::kPartPages];
    base::Hash128 hashes[file::kPartPages];
    for (std::size_t i = 0; i < pages.size(); ++i) {
      writes[i] = {.index = pages[i], .content = content_ + pages[i] * kPageBytes};
      hashes[i] = base::hash_page(writes[i].content);
    }
    return journal_->append(std::span(writes, pages.size()), std::span(hashes, pages.size()),
                            scene_.pages * kPageBytes);
  }

  const CommitScene scene_;
  std::byte* content_ = nullptr;
  double to_be_durable_ = 0, to_apply_ = 0, to_checkpoint_ = 0;  // s
  std::uint64_t commits_ = 0;
  std::unique_ptr<sys::DataFile> data_;
  std::unique_ptr<file::Journal> journal_;  // before the file in destruction
};

class ShadowStore final : public PageStore {
 public:
  explicit ShadowStore(const CommitScene& scene) : scene_(scene) {}

  Result<void> create(std::byte* content) override {
    content_ = content;
    const std::uint64_t places = std::min(scene_.journal_limit / kPageBytes, scene_.pages / 4);
    auto file = ShadowFile::create(scene_.path,
                                   {.pages = static_cast<std::uint32_t>(scene_.pages),
                                    .spare = static_cast<std::uint32_t>(places)},
                                   content);
    if (!file) return std::unexpected(file.error());
    file_ = std::move(*file);
    return {};
  }

  // A write past the cache has to look for the pages that others have left there.
  Result<void> get_ready_for(ShadowPart part) override {
    const bool direct = manner_of(part).direct;
    if (std::exchange(direct_, direct) == direct || !direct) return {};
    return drop_from_cache(scene_.path);
  }

  Result<void> commit(std::span<const std::uint32_t> pages, ShadowPart part) override {
    return file_->commit(pages, content_, manner_of(part));
  }
  Result<void> bring_up_to_date() override { return {}; }
  std::uint64_t offset_of(std::uint32_t page) const override { return file_->offset_of(page); }
  std::string report() override {
    return fmt::format("shadow pages: {:.2f} pages in a run, {} times the whole table written",
                       file_->average_run(), file_->checkpoints());
  }

 private:
  static ShadowManner manner_of(ShadowPart part) {
    return {.one_flush = part == kOneFlush || part == kOneFlushCached,
            .direct = part == kOneFlush || part == kTwoFlushes};
  }

  const CommitScene scene_;
  std::byte* content_ = nullptr;
  std::unique_ptr<ShadowFile> file_;
  bool direct_ = true;
};

}  // namespace

std::unique_ptr<PageStore> make_journal_store(const CommitScene& scene) {
  return std::make_unique<JournalStore>(scene);
}

std::unique_ptr<PageStore> make_shadow_store(const CommitScene& scene) {
  return std::make_unique<ShadowStore>(scene);
}

}  // namespace holdfast::bench
