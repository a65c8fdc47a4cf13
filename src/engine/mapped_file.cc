#include "engine/mapped_file.h"

#include <algorithm>
#include <cerrno>

namespace holdfast::engine {

namespace {

constexpr const char* kMapping = "map file";
constexpr const char* kWriting = "write back a mapped file";

// Writes to the file, and goes on where a page could not be written.
class WriteSink final : public space::SaveSink {
 public:
  explicit WriteSink(file::FileSource& source) noexcept : source_(source) {}

  Expected<void> take(std::span<object::PageWrite> pages, std::span<const base::Hash128>) override {
    source_.write(pages);
    for (const object::PageWrite& page : pages) {
      if (page.error != 0) failed.push_back(page);
    }
    return {};
  }

  std::vector<object::PageWrite> failed;  // of ascending index

 private:
  file::FileSource& source_;
};

void remove_failed(std::vector<space::SavedPage>& saved,
                   const std::vector<object::PageWrite>& failed) {
  std::erase_if(saved, [&](const space::SavedPage& page) {
    return std::binary_search(failed.begin(), failed.end(), object::PageWrite{.index = page.index},
                              [](const auto& a, const auto& b) { return a.index < b.index; });
  });
}

// Hands what is to be committed to the journal.
class JournalSink final : public space::SaveSink {
 public:
  JournalSink(file::Journal& journal, std::uint64_t file_bytes) noexcept
      : journal_(journal), file_bytes_(file_bytes) {}

  Expected<void> take(std::span<object::PageWrite> pages,
                      std::span<const base::Hash128> hashes) override {
    return journal_.append(pages, hashes, file_bytes_);
  }

 private:
  file::Journal& journal_;
  const std::uint64_t file_bytes_;
};

file::Changes changes_of(const MappedFileOptions& options) noexcept {
  if (options.mode != FileMode::shared) return file::Changes::kept;
  return options.commits ? file::Changes::uncommitted : file::Changes::written;
}

}  // namespace

Error file_trouble(int os_errno, std::uint64_t offset, const char* doing) noexcept {
  const bool full = os_errno == ENOSPC || os_errno == EDQUOT || os_errno == EFBIG;
  return {.code = os_errno == EIO ? Errc::io_error : Errc::system,
          .os_errno = os_errno,
          .doing = doing,
          .what = "offset in the file",
          .value = offset,
          .remedy = full
                        ? "make room on the file system and try again: what was stored is in memory"
                        : "what was stored is in memory: look at the kernel's log, and try again"};
}

Expected<std::unique_ptr<MappedFile>> MappedFile::create(sys::Machine& machine,
                                                         space::AddressSpace& space,
                                                         file::ReadAhead& ahead,
                                                         std::unique_ptr<sys::DataFile> data,
                                                         const MappedFileOptions& options) {
  auto* const source = TRY(file::FileSource::create(machine, std::move(data), options.bytes,
                                                    changes_of(options), &ahead));
  std::unique_ptr<MappedFile> file(new MappedFile(machine, space, source, options));
  if (options.commits) TRY_VOID(file->open_journal());
  const std::uint64_t capacity = std::max(options.bytes, options.capacity);
  file->record_ = TRY(space.map_file(pages_for(options.bytes), pages_for(capacity),
                                     file->reference_, options.mode == FileMode::read_only));
  return file;
}

MappedFile::~MappedFile() {
  if (record_ != nullptr) (void)space_.unmap(*record_);
}

Expected<void> MappedFile::write_back(std::uint64_t first, std::uint64_t end, bool durable) {
  const sync::TurnGuard turn(source_->turn());
  const auto written = write_changes(first, end, durable);
  if (!written) return std::unexpected(written.error());
  if (first == 0 && end >= record_->page_count()) look_at_all_ = false;
  return {};
}

// Returns how many pages have been written. The caller has the turn.
Expected<std::uint64_t> MappedFile::write_changes(std::uint64_t first, std::uint64_t end,
                                                  bool durable) {
  WriteSink sink(*source_);
  std::vector<space::SavedPage> saved;
  const auto result = space_.save(*record_, first, end, look_at_all_, sink, saved);
  remove_failed(saved, sink.failed);
  // What was not flushed is not safe, even if it was written: it stays changed.
  const int unsynced = durable ? source_->data().sync() : 0;
  if (unsynced == 0) space_.mark_saved(*record_, saved);
  if (unsynced != 0) source_->errors().note(unsynced, first << kPageShift);
  if (result && unsynced == 0 && sink.failed.empty()) return saved.size();
  look_at_all_ = true;
  ++failures_;
  if (!result) return std::unexpected(result.error());
  if (unsynced != 0) return fail(file_trouble(unsynced, first << kPageShift, kWriting));
  const object::PageWrite& worst = sink.failed.front();
  return fail(file_trouble(worst.error, worst.index << kPageShift, kWriting));
}

std::uint64_t MappedFile::write_some(space::Counters& counters) {
  const std::uint64_t pages = record_->page_count();
  const std::uint64_t begun = machine_.now_ns();
  if (!pacer_.is_writing()) {
    const auto span = space_.look_for_changes(*record_, pacer_.at(), pages, pages, look_at_all_);
    pacer_.looked(begun, span.count, span.next, pages);
    return pacer_.due_ns();
  }
  if (pacer_.at() == 0) failures_before_ = failures_;
  const auto span =
      space_.look_for_changes(*record_, pacer_.at(), pages, space::kRunMax, look_at_all_);
  Expected<std::uint64_t> written = 0;
  // The last page of a file that ends inside it goes by way of the kernel's cache. It is not clean
  // before a flush has succeeded: the cache may fail to write it, and forgets that it is to.
  const bool by_cache = span.end << kPageShift > bytes();
  if (span.count > 0) written = write_changes(span.first, span.end, by_cache);
  if (written) counters.add(space::Count::background_written, *written);
  if (!written) counters.add(space::Count::background_failed);
  pacer_.wrote(begun, machine_.now_ns(), written.value_or(0), span.next, pages, !written);
  // A whole pass without a failure, whoever's, has looked at all that had to be.
  if (!pacer_.is_writing() && failures_ == failures_before_) look_at_all_ = false;
  return pacer_.due_ns();
}

// --- commits ---

Expected<void> MappedFile::open_journal() {
  sys::DataFile& data = source_->data();
  if (data.path().empty()) {
    return fail({.code = Errc::invalid_argument,
                 .doing = kMapping,
                 .what = "a file without a name",
                 .remedy = "a journal stands beside the file: give it a name"});
  }
  journal_ = TRY(file::Journal::open(machine_, file::Journal::path_for(data.path()), data));
  return {};
}

// Whoever waits for its turn while another commits has stored before that one, or is in the next:
// then one flush serves all who wait.
Expected<void> MappedFile::commit() {
  const std::uint64_t mine = arrived_.fetch_add(1, std::memory_order_seq_cst) + 1;
  const sync::TurnGuard turn(source_->turn());
  if (covered_ >= mine) return {};
  const std::uint64_t covers = arrived_.load(std::memory_order_seq_cst);
  TRY_VOID(commit_changes());
  covered_ = covers;
  return {};
}

Expected<void> MappedFile::commit_changes() {
  JournalSink sink(*journal_, bytes());
  std::vector<space::SavedPage> saved;
  Expected<void> result = take_changes(sink, saved);
  if (!result) journal_->abandon();
  if (result && !saved.empty()) result = journal_->seal();
  look_at_all_ = !result;
  if (result && !saved.empty()) bring_up_to_date(saved);
  return result;
}

// At a moment when no transaction is under way.
Expected<void> MappedFile::take_changes(space::SaveSink& sink,
                                        std::vector<space::SavedPage>& saved) {
  const sync::GateCloser closed(changing_);
  return space_.save(*record_, 0, record_->page_count(), look_at_all_, sink, saved);
}

// The commit is durable, whatever happens here: what fails is done again by the next that comes by,
// and is told by sync().
void MappedFile::bring_up_to_date(std::span<const space::SavedPage> saved) {
  Expected<void> result = journal_->apply();
  source_->written_elsewhere();
  // The last page of a file that ends inside it goes by way of the kernel's cache, which may fail
  // to write it later, and forget it.
  const bool by_cache = (saved.back().index + 1) << kPageShift > bytes();
  if (result && by_cache) result = journal_->flush_file();
  if (result) space_.mark_saved(*record_, saved);
  if (!result) look_at_all_ = true;  // its pages are not what the file has: they stay changed
  if (result && journal_->bytes() > journal_limit_) result = journal_->checkpoint();
  if (!result) source_->errors().note(result.error().os_errno, saved.front().index << kPageShift);
}

Expected<void> MappedFile::rollback() {
  const sync::TurnGuard turn(source_->turn());
  const auto mended = journal_->mend();
  source_->written_elsewhere();
  if (!mended) return mended;
  const sync::GateCloser closed(changing_);
  TRY_VOID(space_.roll_back(*record_, look_at_all_));
  look_at_all_ = false;
  return {};
}

Expected<void> MappedFile::checkpoint() {
  const sync::TurnGuard turn(source_->turn());
  const auto done = journal_->checkpoint();
  source_->written_elsewhere();
  return done;
}

Expected<void> MappedFile::resize(std::uint64_t bytes) {
  const sync::TurnGuard turn(source_->turn());
  if (bytes > capacity() || bytes == 0) {
    return fail({.code = Errc::invalid_argument,
                 .doing = "resize a mapped file",
                 .what = "bytes of the file",
                 .value = bytes,
                 .limit = capacity(),
                 .remedy = "give its first mapping the capacity that it may grow to"});
  }
  return bytes >= this->bytes() ? grow(bytes) : shrink(bytes);
}

// The file first: pages that the region shows must be there to be read.
Expected<void> MappedFile::grow(std::uint64_t bytes) {
  sys::DataFile& data = source_->data();
  int error = data.resize(bytes);
  if (error == 0) error = data.sync();
  if (error != 0) return fail(file_trouble(error, bytes, "resize a mapped file"));
  source_->set_bytes(bytes);
  return space_.resize(*record_, pages_for(bytes));
}

Expected<void> MappedFile::shrink(std::uint64_t bytes) {
  if (commits_ || !is_page_aligned(bytes)) {
    return fail({.code = Errc::invalid_argument,
                 .doing = "resize a mapped file",
                 .what = "bytes of the file",
                 .value = bytes,
                 .limit = kPageSize,
                 .remedy = commits_ ? "a file with commits can only be made longer"
                                    : "make it shorter by whole pages"});
  }
  const std::uint64_t old = this->bytes();
  TRY_VOID(space_.resize(*record_, pages_for(bytes)));
  if (const int error = source_->data().resize(bytes); error != 0) {
    // The cut-off pages are zeros now, which will be written: the region is as long as the file.
    (void)space_.resize(*record_, pages_for(old));
    return fail(file_trouble(error, bytes, "resize a mapped file"));
  }
  source_->set_bytes(bytes);
  return {};
}

Expected<void> MappedFile::rest() {
  if (mode_ != FileMode::shared) return {};
  if (!commits_) return write_back(0, record_->page_count(), false);
  TRY_VOID(rollback());
  return checkpoint();
}

Expected<void> MappedFile::close() {
  if (mode_ != FileMode::shared) return {};
  if (commits_) {
    const sync::TurnGuard turn(source_->turn());
    return journal_->close();
  }
  return write_back(0, record_->page_count(), false);
}

}  // namespace holdfast::engine
