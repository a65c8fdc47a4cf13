#include "file/journal.h"

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace holdfast::file {

namespace {

constexpr const char* kWriting = "write journal";

// The journal grows by what it has, but no more than this: a flush of new blocks takes several
// times as long as one of blocks that are there.
constexpr std::uint64_t kGrowthMax = 4 << 20;

std::unexpected<Error> trouble(int os_errno, const char* doing, const char* what,
                               std::uint64_t value) {
  const bool full = os_errno == ENOSPC || os_errno == EDQUOT || os_errno == EFBIG;
  return fail({.code = os_errno == EIO ? Errc::io_error : Errc::system,
               .os_errno = os_errno,
               .doing = doing,
               .what = what,
               .value = value,
               .remedy = full ? "make room on the file system and try again: nothing is lost"
                              : "look at the kernel's log, and try again: nothing is lost"});
}

}  // namespace

Expected<std::unique_ptr<Journal>> Journal::open(sys::Machine& machine, const std::string& path,
                                                 sys::DataFile& data) {
  auto file = TRY(machine.open_data_file(
      {.path = path, .use = sys::FileUse::write, .create = true, .cached = true}));
  const Address buffer =
      TRY(machine.reserve(kBlocks * std::uint64_t{kPageSize}, kPageSize, sys::Purpose::table));
  std::unique_ptr<Journal> journal(
      new Journal(machine, path, std::move(file), data, machine.view(buffer)));
  TRY_VOID(journal->recover());
  return journal;
}

Journal::~Journal() {
  machine_.release(reinterpret_cast<Address>(buffer_), kBlocks * std::uint64_t{kPageSize});
}

Expected<void> Journal::recover() {
  const JournalSummary found = TRY(reader_.summarize());
  const sys::FileIdentity& own = data_.identity();
  const bool begun = found.header.salt != 0;
  if (begun && (found.header.inode != own.inode || found.header.born_ns != own.born_ns)) {
    return fail({.code = Errc::invalid_argument,
                 .doing = "open journal",
                 .what = "inode of the file to which the journal belongs",
                 .value = found.header.inode,
                 .limit = own.inode,
                 .remedy = "put the file back to which it belongs, or remove the journal"});
  }
  header_ = found.header;
  room_ = found.file_bytes;
  if (begun) {
    applied_ = reader_.start();
    committed_ = next_ = found.end;
  }
  return checkpoint();
}

// All that it holds is durable in the file. Whether this succeeds, fails or is cut short by a
// crash, the one header or the other is there: either is right.
Expected<void> Journal::begin_anew() {
  broken_ = true;
  std::uint64_t salt = machine_.random_u64();
  if (salt == 0) salt = 1;
  header_ = JournalHeader();
  header_.salt = salt;
  header_.inode = data_.identity().inode;
  header_.born_ns = data_.identity().born_ns;
  header_.checksum = header_.expected_checksum();
  std::memset(buffer_, 0, kPageSize);
  std::memcpy(buffer_, &header_, sizeof header_);
  sys::IoRequest request{.data = buffer_, .bytes = kPageSize, .offset = 0};
  TRY_VOID(write(std::span(&request, 1)));
  if (const int error = file_->sync(); error != 0) {
    return trouble(error, kWriting, "flush", 0);
  }
  next_ = committed_ = applied_ = {.previous = header_.checksum};
  room_ = std::max(room_, next_.position);
  may_grow_ = true;
  if (!TRY(reader_.read_header())) return trouble(EIO, kWriting, "header", 0);
  broken_ = false;
  return {};
}

Expected<void> Journal::write(std::span<sys::IoRequest> requests) {
  file_->write(requests);
  for (const sys::IoRequest& request : requests) {
    if (request.error != 0) {
      return trouble(request.error, kWriting, "offset in the journal", request.offset);
    }
  }
  return {};
}

Expected<void> Journal::append(std::span<const object::PageWrite> pages,
                               std::span<const base::Hash128> hashes, std::uint64_t file_bytes) {
  HF_CHECK2(!pages.empty() && pages.size() <= kPartPages, pages.size(), kPartPages);
  if (broken_) TRY_VOID(checkpoint());
  if (gathered_blocks_ + 1 + pages.size() >= kGatheredBlocks) TRY_VOID(write_gathered());
  if (gathered_is_written_) gathered_blocks_ = 0;
  std::byte* const block = gathered_ + std::uint64_t{gathered_blocks_} * kPageSize;
  auto& part = *new (block) PartHeader();
  std::memset(part.unused, 0, sizeof part.unused);
  for (std::size_t i = 0; i < pages.size(); ++i) {
    const std::uint64_t offset = pages[i].index << kPageShift;
    const std::uint64_t left = offset < file_bytes ? file_bytes - offset : 0;
    part.page[i] = {.index = pages[i].index,
                    .bytes = static_cast<std::uint32_t>(std::min<std::uint64_t>(kPageSize, left)),
                    .hash = hashes[i]};
    std::memcpy(block + (1 + i) * kPageSize, pages[i].content, kPageSize);
  }
  add_part(static_cast<std::uint32_t>(pages.size()));
  return {};
}

// The part's pages stand behind what is gathered, and what it says of them.
void Journal::add_part(std::uint32_t pages) {
  if (std::exchange(gathered_is_written_, false)) gathered_at_ = next_.position;
  auto& part =
      *reinterpret_cast<PartHeader*>(gathered_ + std::uint64_t{gathered_blocks_} * kPageSize);
  part.salt = header_.salt;
  part.sequence = next_.sequence;
  part.part = next_.part;
  part.pages = pages;
  part.previous = next_.previous;
  part.checksum = part.expected_checksum();
  gathered_blocks_ += 1 + pages;
  next_.position += kPageSize * (std::uint64_t{1} + pages);
  next_.previous = part.checksum;
  ++next_.part;
}

Expected<void> Journal::write_gathered() {
  if (gathered_is_written_) return {};
  sys::IoRequest request{.data = gathered_,
                         .bytes = std::uint64_t{gathered_blocks_} * kPageSize,
                         .offset = gathered_at_};
  TRY_VOID(write(std::span(&request, 1)));
  gathered_is_written_ = true;
  if (next_.position > room_) make_room_behind(next_.position);
  return {};
}

// Writes zeros there, to be made durable with what comes before them. Where they find no room, the
// journal does without, and takes none away from others.
void Journal::make_room_behind(std::uint64_t end) noexcept {
  room_ = end;
  if (!may_grow_) return;
  constexpr std::uint64_t kPiece = JournalReader::kBufferPages * std::uint64_t{kPageSize};
  sys::IoRequest pieces[kGrowthMax / kPiece + 1];
  const std::uint64_t more = std::min(end, kGrowthMax);
  std::size_t count = 0;
  for (std::uint64_t at = 0; at < more; at += kPiece) {
    pieces[count++] = {.data = buffer_, .bytes = std::min(kPiece, more - at), .offset = end + at};
  }
  std::memset(buffer_, 0, kPiece);
  file_->write(std::span(pieces, count));
  may_grow_ = std::all_of(pieces, pieces + count, [](const auto& each) { return each.error == 0; });
  if (may_grow_) {
    room_ = end + more;
  } else {
    (void)file_->resize(end);
  }
}

Expected<void> Journal::seal() {
  if (gathered_is_written_) gathered_blocks_ = 0;
  auto& part = *new (gathered_ + std::uint64_t{gathered_blocks_} * kPageSize) PartHeader();
  std::memset(part.unused, 0, sizeof part.unused);
  add_part(0);
  // Some of it, or all, may be on the disk when this fails: it must not be found there.
  if (auto written = write_gathered(); !written) {
    broken_ = true;
    abandon();
    return written;
  }
  if (const int error = file_->sync(); error != 0) {
    const std::uint64_t end = next_.position;
    broken_ = true;
    abandon();
    return trouble(error, kWriting, "flush", end);
  }
  next_.part = 0;
  ++next_.sequence;
  committed_ = next_;
  return {};
}

void Journal::abandon() noexcept {
  next_ = committed_;
  gathered_blocks_ = 0;
  gathered_is_written_ = true;
}

Expected<void> Journal::apply() {
  const std::uint64_t gathered = std::uint64_t{gathered_blocks_} * kPageSize;
  if (gathered > 0 && gathered_at_ == applied_.position &&
      gathered_at_ + gathered == committed_.position) {
    return apply_gathered();
  }
  JournalCursor cursor = applied_;
  while (cursor.position < committed_.position) {
    const PartHeader* const part = TRY(reader_.next(cursor));
    if (part == nullptr) {
      return fail({.code = Errc::corrupted,
                   .doing = "apply journal",
                   .what = "offset in the journal",
                   .value = cursor.position,
                   .remedy = "what was committed does not read back: the device fails"});
    }
    if (part->pages > 0) TRY_VOID(apply_part(*part, reader_.pages()));
    if (part->pages == 0) applied_ = cursor;
  }
  return {};
}

// The whole of the last commit is still in memory, and all before it is in the file.
Expected<void> Journal::apply_gathered() {
  for (std::uint32_t block = 0; block < gathered_blocks_;) {
    std::byte* const at = gathered_ + std::uint64_t{block} * kPageSize;
    const auto& part = *reinterpret_cast<const PartHeader*>(at);
    if (part.pages > 0) TRY_VOID(apply_part(part, at + kPageSize));
    block += 1 + part.pages;
  }
  applied_ = committed_;
  return {};
}

Expected<void> Journal::apply_part(const PartHeader& part, std::byte* pages) {
  std::uint64_t file_bytes = 0;
  if (const int error = data_.size(file_bytes); error != 0) {
    return trouble(error, "apply journal", "size of the file", 0);
  }
  sys::IoRequest requests[kPartPages];
  std::uint32_t count = 0;
  for (std::uint32_t i = 0; i < part.pages; ++i) {
    const std::uint64_t offset = part.page[i].index << kPageShift;
    if (offset >= file_bytes) continue;  // somebody cut the file short: nothing goes behind its end
    const std::uint64_t bytes = std::min<std::uint64_t>(part.page[i].bytes, file_bytes - offset);
    std::byte* const from = pages + std::uint64_t{i} * kPageSize;
    sys::IoRequest* const last = count > 0 ? &requests[count - 1] : nullptr;
    const bool joins =
        last != nullptr && last->offset + last->bytes == offset && last->data + last->bytes == from;
    if (joins) {
      last->bytes += bytes;
    } else if (bytes > 0) {
      requests[count++] = {.data = from, .bytes = bytes, .offset = offset};
    }
  }
  if (count > 0) data_.write(std::span(requests, count));
  for (std::uint32_t i = 0; i < count; ++i) {
    if (requests[i].error != 0) {
      return trouble(requests[i].error, "apply journal", "offset in the file", requests[i].offset);
    }
  }
  return {};
}

Expected<void> Journal::checkpoint() {
  abandon();
  TRY_VOID(apply());
  if (committed_.position > kJournalStart) {
    TRY_VOID(flush_file());
  }
  if (!broken_ && next_.position == kJournalStart) return {};
  return begin_anew();
}

Expected<void> Journal::flush_file() {
  const int error = data_.sync();
  if (error == 0) return {};
  // The kernel may have dropped what it could not write: all of it is written once more.
  applied_ = reader_.start();
  return trouble(error, "flush a mapped file", "errno", static_cast<std::uint64_t>(error));
}

Expected<void> Journal::mend() {
  TRY_VOID(apply());
  if (broken_) (void)checkpoint();
  return {};
}

Expected<void> Journal::close() {
  TRY_VOID(checkpoint());
  const int error = machine_.remove_file(path_);
  if (error != 0 && error != ENOENT) return trouble(error, "remove journal", "errno", 0);
  return {};
}

}  // namespace holdfast::file
