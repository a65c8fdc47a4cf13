#include "engine/mapped_file.h"

#include <algorithm>
#include <cerrno>

namespace holdfast::engine {

namespace {

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
                                                         std::unique_ptr<sys::DataFile> data,
                                                         const MappedFileOptions& options) {
  const bool shared = options.mode == FileMode::shared;
  auto* const source =
      TRY(file::FileSource::create(machine, std::move(data), options.bytes,
                                   shared ? file::Changes::written : file::Changes::kept));
  std::unique_ptr<MappedFile> file(new MappedFile(space, source, options.mode));
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
  WriteSink sink(*source_);
  std::vector<space::SavedPage> saved;
  const bool all_pages = first == 0 && end >= record_->page_count();
  const auto result = space_.save(*record_, first, end, look_at_all_, sink, saved);
  remove_failed(saved, sink.failed);
  // What was not flushed is not safe, even if it was written: it stays changed.
  const int unsynced = durable ? source_->data().sync() : 0;
  if (unsynced == 0) space_.mark_saved(*record_, saved);
  if (unsynced != 0) source_->errors().note(unsynced, first << kPageShift);
  const bool good = result && unsynced == 0 && sink.failed.empty();
  if (!good) look_at_all_ = true;
  if (good && all_pages) look_at_all_ = false;
  if (!result) return result;
  if (unsynced != 0) return fail(file_trouble(unsynced, first << kPageShift, kWriting));
  if (good) return {};
  const object::PageWrite& worst = sink.failed.front();
  return fail(file_trouble(worst.error, worst.index << kPageShift, kWriting));
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
  if (!is_page_aligned(bytes)) {
    return fail({.code = Errc::invalid_argument,
                 .doing = "resize a mapped file",
                 .what = "bytes of the file",
                 .value = bytes,
                 .limit = kPageSize,
                 .remedy = "make it shorter by whole pages"});
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

Expected<void> MappedFile::close() {
  if (mode_ != FileMode::shared) return {};
  return write_back(0, record_->page_count(), false);
}

}  // namespace holdfast::engine
