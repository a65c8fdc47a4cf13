#include "file/file_source.h"

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace holdfast::file {

namespace {

constexpr std::uint32_t kExtentsMax = 64;
constexpr const char* kReading = "read a page of a mapped file";

Error read_error(int os_errno, std::uint64_t offset) noexcept {
  return {.code = Errc::io_error,
          .os_errno = os_errno,
          .doing = kReading,
          .what = "offset in the file",
          .value = offset,
          .remedy = "the device fails: look at the kernel's log; a retry may succeed"};
}

Error beyond_end(std::uint64_t offset, std::uint64_t bytes) noexcept {
  return {.code = Errc::io_error,
          .os_errno = EIO,
          .doing = kReading,
          .what = "the file was cut short under its mapping; offset",
          .value = offset,
          .limit = bytes,
          .remedy = "make the file as long as it was, or do not read beyond its new end"};
}

// Adds an extent, or makes the last one longer where it lies right behind that.
std::uint32_t add_extent(sys::IoRequest* extents, std::uint32_t count,
                         const sys::IoRequest& next) noexcept {
  if (count > 0) {
    sys::IoRequest& last = extents[count - 1];
    if (last.offset + last.bytes == next.offset && last.data + last.bytes == next.data) {
      last.bytes += next.bytes;
      return count;
    }
  }
  extents[count] = next;
  return count + 1;
}

}  // namespace

Expected<FileSource*> FileSource::create(sys::Machine& machine, std::unique_ptr<sys::DataFile> data,
                                         std::uint64_t bytes, Changes changes, ReadAhead* ahead) {
  Address room = 0;
  if (changes == Changes::written) {
    room = TRY(machine.reserve(kRoomPages * kPageSize, kPageSize, sys::Purpose::table));
  }
  auto* const source = new FileSource(machine, std::move(data), bytes, changes, ahead);
  source->room_ = room;
  return source;
}

FileSource::~FileSource() {
  if (ahead_ != nullptr) ahead_->leave(*this);
  if (room_ != 0) machine_.release(room_, kRoomPages * kPageSize);
}

// What is to be read of the file, as far as the file has it.
struct FileSource::Extents {
  std::uint64_t there = 0;  // bytes that the file has
  std::uint64_t ours = 0;   // bytes of it that the region stands for
  std::uint32_t count = 0;
  sys::IoRequest all[kExtentsMax];

  // Whole pages; the last one, which the file ends in, is no such.
  [[nodiscard]] std::uint64_t whole() const noexcept { return std::min(ours, there) >> kPageShift; }
  [[nodiscard]] std::span<sys::IoRequest> list() noexcept { return {all, count}; }
};

bool FileSource::read(std::uint64_t first, std::uint32_t pages, std::byte* const* to,
                      Error& error) noexcept {
  Extents extents;
  extents.ours = bytes();
  if (const int refused = data_->size(extents.there); refused != 0) {
    error = read_error(refused, first << kPageShift);
    return false;
  }
  const std::uint64_t whole = extents.whole();
  std::uint32_t had = 0;
  while (ahead_ != nullptr && had < pages && first + had < whole) {
    const std::uint64_t most = std::min<std::uint64_t>(pages - had, whole - first - had);
    const std::uint32_t count =
        ahead_->take(*this, first + had, static_cast<std::uint32_t>(most), to + had);
    if (count == 0) break;
    had += count;
  }
  for (std::uint32_t i = had; i < pages; ++i) {
    if (!add(extents, first + i, to[i], error)) return false;
  }
  return read_extents(extents.list(), error);
}

bool FileSource::read_scattered(std::span<const object::PageRead> pages, Error& error) noexcept {
  Extents extents;
  extents.ours = bytes();
  if (const int refused = data_->size(extents.there); refused != 0) {
    error = read_error(refused, pages.front().index << kPageShift);
    return false;
  }
  const std::uint64_t whole = extents.whole();
  for (const object::PageRead& page : pages) {
    const bool may_be_ahead = ahead_ != nullptr && page.index < whole;
    if (may_be_ahead && ahead_->take(*this, page.index, 1, &page.to) == 1) continue;
    if (!add(extents, page.index, page.to, error)) return false;
  }
  return read_extents(extents.list(), error);
}

// Adds the page, and fills with zeros what lies beyond the end; what was added is read first where
// there is no room for more.
bool FileSource::add(Extents& extents, std::uint64_t index, std::byte* to, Error& error) noexcept {
  const std::uint64_t offset = index << kPageShift;
  const std::uint64_t wanted =
      offset < extents.ours ? std::min<std::uint64_t>(kPageSize, extents.ours - offset) : 0;
  if (wanted > 0 && offset >= extents.there) {
    error = beyond_end(offset, extents.there);
    return false;
  }
  const std::uint64_t got = wanted == 0 ? 0 : std::min(wanted, extents.there - offset);
  if (got < kPageSize) std::memset(to + got, 0, kPageSize - got);
  if (got == 0) return true;
  if (extents.count == kExtentsMax) {
    if (!read_extents(extents.list(), error)) return false;
    extents.count = 0;
  }
  extents.count =
      add_extent(extents.all, extents.count, {.data = to, .bytes = got, .offset = offset});
  return true;
}

void FileSource::expect(std::uint64_t first, std::uint32_t step, std::uint32_t pages) noexcept {
  if (ahead_ != nullptr) ahead_->expect(*this, first, step, pages);
}

void FileSource::written_elsewhere() noexcept {
  if (ahead_ != nullptr) ahead_->forget(*this, 0, ~std::uint64_t{0});
}

bool FileSource::read_extents(std::span<sys::IoRequest> requests, Error& error) noexcept {
  if (requests.empty()) return true;
  data_->read(requests);
  for (const sys::IoRequest& request : requests) {
    if (request.error == 0) continue;
    std::uint64_t there = 0;  // it may have been cut short just now
    const bool cut = data_->size(there) == 0 && request.offset + request.bytes > there;
    error = cut ? beyond_end(request.offset, there) : read_error(request.error, request.offset);
    return false;
  }
  return true;
}

// Pages in a row are one extent. One that fails says nothing of each of its pages: they are written
// once more, each by itself, so that a page which the device does not take is told by its own
// offset, and keeps no neighbour from the file.
void FileSource::write(std::span<object::PageWrite> pages) noexcept {
  std::uint64_t there = 0;
  const int unknown = data_->size(there);
  const std::uint64_t end = std::min(there, bytes());
  for (object::PageWrite& page : pages) {
    page.error = unknown != 0 ? unknown : (page.index << kPageShift >= end ? EIO : 0);
  }
  for (std::size_t from = 0; from < pages.size(); from += kExtentsMax) {
    const std::size_t count = std::min<std::size_t>(pages.size() - from, kExtentsMax);
    write_extents(pages.subspan(from, count), end);
  }
  for (const object::PageWrite& page : pages) {
    if (page.error != 0) errors_.note(page.error, page.index << kPageShift);
  }
}

// At most kExtentsMax pages; those with an error are passed over. end: of the file, in bytes.
void FileSource::write_extents(std::span<object::PageWrite> pages, std::uint64_t end) noexcept {
  sys::IoRequest extents[kExtentsMax];
  std::uint32_t count = 0;
  const auto whole = [end](const object::PageWrite& page) {
    const std::uint64_t offset = page.index << kPageShift;
    return sys::IoRequest{.data = const_cast<std::byte*>(page.content),
                          .bytes = std::min<std::uint64_t>(kPageSize, end - offset),
                          .offset = offset};
  };
  for (const object::PageWrite& page : pages) {
    if (page.error == 0) count = add_extent(extents, count, whole(page));
  }
  write_and_forget(std::span(extents, count));
  object::PageWrite* again[kExtentsMax];
  sys::IoRequest alone[kExtentsMax];
  std::uint32_t alone_count = 0;
  for (object::PageWrite& page : pages) {
    const std::uint64_t offset = page.index << kPageShift;
    for (std::uint32_t e = 0; e < count && page.error == 0; ++e) {
      const sys::IoRequest& extent = extents[e];
      if (offset < extent.offset || offset - extent.offset >= extent.bytes) continue;
      page.error = extent.error;
      if (extent.error == 0 || extent.bytes <= kPageSize) break;
      again[alone_count] = &page;
      alone[alone_count++] = whole(page);
    }
  }
  write_and_forget(std::span(alone, alone_count));
  for (std::uint32_t i = 0; i < alone_count; ++i) again[i]->error = alone[i].error;
}

// What was read ahead of these places is of no use any more.
void FileSource::write_and_forget(std::span<sys::IoRequest> requests) noexcept {
  if (requests.empty()) return;
  data_->write(requests);
  if (ahead_ == nullptr) return;
  for (const sys::IoRequest& request : requests) {
    ahead_->forget(*this, request.offset >> kPageShift,
                   pages_for(request.offset + request.bytes).value);
  }
}

}  // namespace holdfast::file
