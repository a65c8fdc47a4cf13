// Reading pages: at any place, along the chain of bases, each proved by its own hash.
// Async-signal-safe but for verify().
#include <algorithm>
#include <cstring>

#include "image/damage.h"
#include "image/group_codec.h"
#include "image/reader.h"

namespace holdfast::image {
namespace {

const std::byte* payload_of(const std::byte* record, const GroupEntry& group) noexcept {
  return record + group.pages * sizeof(base::Hash128);
}

Packed packed_of(const GroupEntry& group) noexcept {
  return {group.encoding,
          group.bytes - static_cast<std::uint32_t>(group.pages * sizeof(base::Hash128))};
}

base::Hash128 hash_in(const std::byte* record, std::uint32_t position) noexcept {
  base::Hash128 hash;
  std::memcpy(&hash, record + position * sizeof hash, sizeof hash);
  return hash;
}

}  // namespace

const RunEntry& Reader::run_of(std::uint64_t page) const noexcept {
  HF_DCHECK2(page < header_.pages, page, header_.pages);
  const auto after = std::upper_bound(
      runs_.begin(), runs_.end(), page,
      [](std::uint64_t wanted, const RunEntry& run) { return wanted < run.first; });
  return *(after - 1);
}

// Follows the page into its bases until one holds it.
Reader::Place Reader::find(std::uint64_t page) noexcept {
  Place place{.reader = this, .page = page, .left = header_.pages - page};
  for (;;) {
    const RunEntry& run = place.reader->run_of(place.page);
    place.run = &run;
    place.left = std::min(place.left, run.first + run.pages - place.page);
    if (run.kind != PageKind::unchanged) return place;
    place.page = run.value + (place.page - run.first);
    place.reader = place.reader->base_.get();
    HF_CHECK(place.reader != nullptr);
  }
}

bool Reader::read(std::uint64_t first, std::uint32_t pages, std::byte* const* to,
                  Error& error) noexcept {
  for (std::uint32_t done = 0; done < pages;) {
    const Place place = find(first + done);
    const auto count =
        static_cast<std::uint32_t>(std::min<std::uint64_t>(place.left, pages - done));
    if (place.run->kind == PageKind::filled) {
      for (std::uint32_t i = 0; i < count; ++i) base::fill_page(to[done + i], place.run->value);
    } else if (!place.reader->read_data(*place.run, place.page, count, to + done, error)) {
      return false;
    }
    done += count;
  }
  return true;
}

bool Reader::read_data(const RunEntry& run, std::uint64_t page, std::uint32_t pages,
                       std::byte* const* to, Error& error) noexcept {
  Workspace room(*workspaces_);
  if (!load_group(run.value, room, error)) return false;
  const std::uint32_t position = run.position + static_cast<std::uint32_t>(page - run.first);
  for (std::uint32_t i = 0; i < pages; ++i) {
    const std::byte* content = room.pages() + (position + i) * kPageSize;
    if (base::hash_page(content) != hash_in(room.record(), position + i)) {
      error = damaged("page that does not match its hash, in the group at offset",
                      groups_[run.value].offset);
      room.set_group(WorkspacePool::kNoGroup);  // the next reader asks the file again
      return false;
    }
    std::memcpy(to[i], content, kPageSize);
  }
  return true;
}

// Lets the group's record and pages stand in the workspace.
bool Reader::load_group(std::uint64_t group, Workspace& room, Error& error) noexcept {
  if (room.group() == group) return true;
  room.set_group(WorkspacePool::kNoGroup);
  const GroupEntry& entry = groups_[group];
  if (!read_record(group, room.record(), entry.bytes, error)) return false;
  return unpack_group(group, room, error);
}

bool Reader::unpack_group(std::uint64_t group, Workspace& room, Error& error) noexcept {
  const GroupEntry& entry = groups_[group];
  if (!unpack(packed_of(entry), payload_of(room.record(), entry), entry.pages, room.pages(),
              room.zstd_state())) {
    error = damaged("group that cannot be unpacked, at offset", entry.offset);
    return false;
  }
  room.set_group(group);
  return true;
}

bool Reader::read_record(std::uint64_t group, std::byte* to, std::uint64_t bytes,
                         Error& error) const noexcept {
  const int refused = source_->read(groups_[group].offset, to, bytes);
  if (refused == 0) return true;
  error = source_->error_of(refused, groups_[group].offset);
  return false;
}

Reader::Holds Reader::holds(std::uint64_t page, const base::Hash128& hash, HashCache& cache,
                            Error& error) noexcept {
  const Place place = find(page);
  if (place.run->kind == PageKind::filled) return Holds::no;  // a tag in an entry says it as well
  const std::uint64_t group = place.run->value;
  if (cache.reader != place.reader || cache.group != group) {
    cache.reader = nullptr;
    const std::uint64_t bytes = place.reader->groups_[group].pages * sizeof(base::Hash128);
    if (!place.reader->read_record(group, reinterpret_cast<std::byte*>(cache.hashes), bytes,
                                   error)) {
      return Holds::failed;
    }
    cache.reader = place.reader;
    cache.group = group;
  }
  const std::uint64_t position = place.run->position + (place.page - place.run->first);
  return cache.hashes[position] == hash ? Holds::yes : Holds::no;
}

Reader::Around Reader::around(std::uint64_t page) const noexcept {
  // Only this image's own runs: a page of a base comes in with its neighbours in this image.
  const RunEntry& run = run_of(page);
  return {run.first, run.first + run.pages};
}

Expected<void> Reader::verify(VerifyProgress& progress) {
  std::uint64_t proved = footer_.file_bytes - footer_.index_offset + sizeof(Header);
  Workspace room(*workspaces_);
  for (std::uint64_t group = 0; group < groups_.size(); ++group) {
    TRY_VOID(verify_group(group, room));
    proved += groups_[group].bytes;
    if (!progress.verified(proved, footer_.file_bytes)) {
      return fail({.code = Errc::cancelled, .doing = "verify image"});
    }
  }
  return {};
}

Expected<void> Reader::verify_group(std::uint64_t group, Workspace& room) {
  const GroupEntry& entry = groups_[group];
  room.set_group(WorkspacePool::kNoGroup);
  Error error;
  if (!read_record(group, room.record(), entry.bytes, error)) return fail(error);
  if (base::hash_bytes(room.record(), entry.bytes) != entry.checksum) {
    return fail(damaged("checksum of a group, at offset", entry.offset));
  }
  if (!unpack_group(group, room, error)) return fail(error);
  for (std::uint32_t i = 0; i < entry.pages; ++i) {
    if (base::hash_page(room.pages() + i * kPageSize) != hash_in(room.record(), i)) {
      return fail(
          damaged("page that does not match its hash, in the group at offset", entry.offset));
    }
  }
  return {};
}

}  // namespace holdfast::image
