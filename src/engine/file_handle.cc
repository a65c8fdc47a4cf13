#include "engine/file_handle.h"

namespace holdfast::engine {

Expected<void> FileHandle::check(const char* doing, std::uint64_t offset,
                                 std::uint64_t bytes) const {
  if (sync::in_interrupt()) return fail(engine_.refused_in_interrupt(doing));
  const std::uint64_t all = size();
  if (bytes > 0 && offset < all && bytes <= all - offset) return {};
  return fail({.code = Errc::invalid_argument,
               .doing = doing,
               .what = "end of the range, as an offset in the mapping",
               .value = offset + bytes,
               .limit = all,
               .remedy = "give a range of at least 1 byte inside the mapping"});
}

Expected<void> FileHandle::check_writable(const char* doing) const {
  if (sync::in_interrupt()) return fail(engine_.refused_in_interrupt(doing));
  if (file_.mode() == FileMode::shared) return {};
  return fail({.code = Errc::invalid_argument,
               .doing = doing,
               .what = "a mapping that never goes back to its file",
               .remedy = "map it with FileMode::shared"});
}

// What failed now is told by its own error; what failed earlier, behind everybody's back, now.
Expected<void> FileHandle::told(Expected<void> result, const char* doing) {
  file::FileErrors::Noted noted;
  const bool earlier = file_.source().errors().take(seen_, noted);
  if (!result || !earlier) return result;
  return fail(file_trouble(noted.os_errno, noted.offset, doing));
}

Expected<void> FileHandle::sync(std::uint64_t offset, std::uint64_t bytes) {
  constexpr const char* kDoing = "sync file mapping";
  TRY_VOID(check_writable(kDoing));
  TRY_VOID(check(kDoing, offset, bytes));
  const sync::EngineScope scope;
  if (file_.has_commits()) return told(file_.checkpoint(), kDoing);
  const std::uint64_t first = (offset_ + offset) >> kPageShift;
  const std::uint64_t end = pages_for(offset_ + offset + bytes).value;
  return told(file_.write_back(first, end, true), kDoing);
}

Expected<void> FileHandle::check_commits(const char* doing) const {
  TRY_VOID(check_writable(doing));
  if (file_.has_commits()) return {};
  return fail({.code = Errc::invalid_argument,
               .doing = doing,
               .what = "a mapping without commits",
               .remedy = "map it with FileOptions::commits"});
}

Expected<void> FileHandle::commit() {
  TRY_VOID(check_commits("commit file mapping"));
  const sync::EngineScope scope;
  return file_.commit();
}

Expected<void> FileHandle::begin() {
  TRY_VOID(check_commits("begin transaction"));
  file_.changing().enter();
  return {};
}

Expected<void> FileHandle::rollback() {
  TRY_VOID(check_commits("roll file mapping back"));
  const sync::EngineScope scope;
  return file_.rollback();
}

Expected<void> FileHandle::resize(std::uint64_t bytes) {
  constexpr const char* kDoing = "resize file mapping";
  TRY_VOID(check_writable(kDoing));
  const sync::EngineScope scope;
  const std::uint64_t file_bytes = offset_ + bytes;
  if (bytes == 0 || file_bytes < bytes) {
    return fail({.code = Errc::invalid_argument,
                 .doing = kDoing,
                 .what = "bytes",
                 .value = bytes,
                 .limit = file_.capacity() - offset_,
                 .remedy = "give at least 1 byte, and at most the capacity"});
  }
  if (file_bytes < file_.bytes() && engine_.files().views_of(file_) > 1) {
    return fail({.code = Errc::busy,
                 .doing = kDoing,
                 .what = "other mappings of the file",
                 .remedy = "unmap them before the file is made shorter"});
  }
  TRY_VOID(file_.resize(file_bytes));
  bytes_.store(bytes, std::memory_order_release);
  return {};
}

Expected<void> FileHandle::advise(std::uint64_t offset, std::uint64_t bytes, Advice advice) {
  TRY_VOID(check("advise file mapping", offset, bytes));
  if (advice == Advice::free) TRY_VOID(check_writable("free part of a file mapping"));
  const sync::EngineScope scope;
  return engine_.space().advise(file_.record(), offset_ + offset, bytes, advice);
}

Expected<std::uint64_t> FileHandle::prefetch(std::uint64_t offset, std::uint64_t bytes) {
  TRY_VOID(check("prefetch file mapping", offset, bytes));
  const sync::EngineScope scope;
  return engine_.space().prefetch(file_.record(), offset_ + offset, bytes);
}

Expected<bool> FileHandle::begin_ready(detail::ReadyRequest& request) {
  TRY_VOID(check("wait for pages", request.offset, request.bytes));
  const sync::EngineScope scope;
  return engine_.ready().wait(request, file_.record(), offset_ + request.offset);
}

Expected<void> FileHandle::unmap() {
  if (sync::in_interrupt()) return fail(engine_.refused_in_interrupt("unmap file"));
  {
    const sync::EngineScope scope;
    TRY_VOID(engine_.files().unmap(engine_, file_, false));
  }
  delete this;
  return {};
}

// The queue owns the handle where it cannot go at once.
void FileHandle::abandon() noexcept {
  if (sync::in_interrupt()) {
    const auto later = [](void* self) noexcept { static_cast<FileHandle*>(self)->abandon(); };
    if (!engine_.defer(later, this))
      engine_.print("holdfast: a file mapping could not be unmapped");
    return;
  }
  {
    const sync::EngineScope scope;
    const char* const where = file_.has_commits() ? "left in the journal: " : "lost: ";
    const auto closed = engine_.files().unmap(engine_, file_, true);
    if (!closed) engine_.print(("holdfast: " + (where + closed.error().message())).c_str());
  }
  delete this;
}

}  // namespace holdfast::engine
