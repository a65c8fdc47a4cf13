#include "files/shadow_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <new>

namespace holdfast::bench {
namespace {

constexpr std::uint64_t kTableMagic = 0x454c424154574853;    // "SHWTABLE"
constexpr std::uint64_t kRecordMagic = 0x44524345'52574853;  // "SHWRECRD"
constexpr std::uint64_t kPiece = 1 << 20;

std::uint64_t in_blocks(std::uint64_t bytes) {
  return (bytes + kPageBytes - 1) / kPageBytes * kPageBytes;
}

// Both heads begin with the checksum of what follows it.
template <class Head>
base::Hash128 checksum_of(const Head* head, std::uint64_t bytes) {
  const auto* const rest = reinterpret_cast<const std::byte*>(head) + sizeof head->checksum;
  return base::hash_bytes(rest, bytes - sizeof head->checksum);
}

}  // namespace

ShadowFile::~ShadowFile() {
  if (cached_ >= 0) close(cached_);
  if (direct_ >= 0) close(direct_);
}

std::uint64_t ShadowFile::table_bytes() const {
  return in_blocks(sizeof(TableHead) + shape_.pages * sizeof(std::uint32_t));
}

std::uint64_t ShadowFile::record_bytes(std::uint64_t count, bool hashed) {
  return sizeof(RecordHead) + count * (sizeof(Move) + (hashed ? sizeof(base::Hash128) : 0));
}

Result<void> ShadowFile::begin(int more_flags) {
  cached_ = ::open(path_.c_str(), O_RDWR | O_CLOEXEC | more_flags, 0600);
  if (cached_ < 0) return system_trouble("open " + path_);
  direct_ = ::open(path_.c_str(), O_RDWR | O_CLOEXEC | O_DIRECT);
  if (direct_ < 0) return system_trouble("open " + path_ + " with O_DIRECT");
  auto io = ExtentIo::create();
  if (!io) return std::unexpected(io.error());
  io_ = std::move(*io);
  auto buffer = PlainMemory::map(area_bytes());
  if (!buffer) return std::unexpected(buffer.error());
  buffer_ = std::move(*buffer);
  return {};
}

// --- made ---

Result<std::unique_ptr<ShadowFile>> ShadowFile::create(const std::string& path,
                                                       const ShadowShape& shape,
                                                       std::byte* content) {
  std::unique_ptr<ShadowFile> file(new ShadowFile(shape, path));
  if (auto begun = file->begin(O_CREAT | O_EXCL); !begun) return std::unexpected(begun.error());
  if (auto filled = file->fill(content); !filled) return std::unexpected(filled.error());
  file->table_.resize(shape.pages);
  file->taken_.assign(file->places(), false);
  for (std::uint32_t page = 0; page < shape.pages; ++page) {
    file->table_[page] = page;
    file->taken_[page] = true;
  }
  file->free_ = shape.spare;
  if (auto durable = file->checkpoint(); !durable) return std::unexpected(durable.error());
  return file;
}

// Every block once, so that no commit has to give the file blocks: that would make its flush
// dearer.
Result<void> ShadowFile::fill(std::byte* content) {
  std::memset(buffer_->data(), 0, area_bytes());
  Extents all;
  const auto add = [&](std::uint64_t offset, std::byte* data, std::uint64_t bytes) {
    for (std::uint64_t done = 0; done < bytes; done += kPiece) {
      all.add(offset + done, data + done, std::min(kPiece, bytes - done));
    }
  };
  for (const unsigned area : {0U, 1U}) add(area * area_bytes(), buffer_->data(), area_bytes());
  add(places_start(), content, shape_.pages * kPageBytes);
  for (std::uint32_t place = shape_.pages; place < places(); ++place) {
    add(places_start() + place * kPageBytes, buffer_->data(), kPageBytes);
  }
  if (auto written = write(all, true); !written) return written;
  return flush();
}

// --- committed ---

Result<void> ShadowFile::commit(std::span<const std::uint32_t> pages, std::byte* content,
                                ShadowManner manner) {
  const std::uint64_t bytes = record_bytes(pages.size(), manner.one_flush);
  if (pages.size() > free_ || in_blocks(bytes) > shape_.log_bytes) {
    return failure(fmt::format("a commit of {} pages finds no room", pages.size()));
  }
  if (position_ + bytes > shape_.log_bytes) {
    if (auto durable = checkpoint(); !durable) return durable;
  }
  take_places(pages);
  pages_.clear();
  for (const Move& move : moves_) {
    pages_.add(places_start() + move.place * kPageBytes, content + move.page * kPageBytes,
               kPageBytes);
  }
  const std::uint64_t length = write_record(content, manner.one_flush);
  if (auto written = write(pages_, manner.direct); !written) return written;
  if (!manner.one_flush) {
    if (auto durable = flush(); !durable) return durable;
    if (auto written = write(record_, manner.direct); !written) return written;
  }
  if (auto durable = flush(); !durable) return durable;
  position_ += length;
  ++sequence_;
  settle();
  return {};
}

// There are as many.
void ShadowFile::take_places(std::span<const std::uint32_t> pages) {
  moves_.clear();
  for (const std::uint32_t page : pages) {
    while (taken_[next_place_]) next_place_ = (next_place_ + 1) % places();
    taken_[next_place_] = true;
    moves_.push_back({page, next_place_});
  }
  free_ -= static_cast<std::uint32_t>(pages.size());
}

// Lays the record out in the buffer, where it will stand in the area. With one flush it goes with
// the pages, otherwise it is one write of its own. Returns the bytes that it takes of the log.
std::uint64_t ShadowFile::write_record(std::byte* content, bool hashed) {
  const std::uint64_t bytes = record_bytes(moves_.size(), hashed);
  const std::uint64_t blocks = in_blocks(bytes);
  const std::uint64_t at = table_bytes() + position_;
  std::byte* const record = buffer_->data() + at;
  auto& head = *new (record) RecordHead();
  head.magic = kRecordMagic;
  head.epoch = epoch_;
  head.sequence = sequence_;
  head.count = static_cast<std::uint32_t>(moves_.size());
  head.hashed = hashed ? 1 : 0;
  std::byte* end = record + sizeof head;
  std::memcpy(end, moves_.data(), moves_.size() * sizeof(Move));
  end += moves_.size() * sizeof(Move);
  if (hashed) {
    for (const Move& move : moves_) {
      const base::Hash128 hash = base::hash_page(content + move.page * kPageBytes);
      std::memcpy(end, &hash, sizeof hash);
      end += sizeof hash;
    }
  }
  std::memset(record + bytes, 0, blocks - bytes);
  head.checksum = checksum_of(&head, bytes);
  record_.clear();
  (hashed ? pages_ : record_).add(area_ * area_bytes() + at, record, blocks);
  return blocks;
}

// What the moves left is free from now on.
void ShadowFile::settle() {
  for (const Move& move : moves_) {
    taken_[table_[move.page]] = false;
    table_[move.page] = move.place;
  }
  free_ += static_cast<std::uint32_t>(moves_.size());
}

Result<void> ShadowFile::checkpoint() {
  const unsigned other = 1 - area_;
  auto& head = *new (buffer_->data()) TableHead();
  head.magic = kTableMagic;
  head.epoch = epoch_ + 1;
  head.pages = shape_.pages;
  head.places = places();
  std::memcpy(buffer_->data() + sizeof head, table_.data(), table_.size() * sizeof table_[0]);
  head.checksum = checksum_of(&head, table_bytes());
  record_.clear();
  record_.add(other * area_bytes(), buffer_->data(), table_bytes());
  if (auto written = write(record_, true); !written) return written;
  if (auto durable = flush(); !durable) return durable;
  area_ = other;
  ++epoch_;
  sequence_ = 0;
  position_ = 0;
  ++checkpoints_;
  return {};
}

Result<void> ShadowFile::write(const Extents& extents, bool direct) {
  return direct ? io_->write(direct_, extents) : ExtentIo::write_cached(cached_, extents);
}

Result<void> ShadowFile::flush() {
  if (fdatasync(cached_) != 0) return system_trouble("flush " + path_);
  return {};
}

double ShadowFile::average_run() const {
  std::uint32_t runs = 1;
  for (std::uint32_t page = 1; page < shape_.pages; ++page) {
    runs += table_[page] == table_[page - 1] + 1 ? 0 : 1;
  }
  return double(shape_.pages) / runs;
}

// --- found after a crash ---

Result<std::unique_ptr<ShadowFile>> ShadowFile::open(const std::string& path,
                                                     const ShadowShape& shape) {
  std::unique_ptr<ShadowFile> file(new ShadowFile(shape, path));
  if (auto begun = file->begin(0); !begun) return std::unexpected(begun.error());
  if (auto found = file->recover(); !found) return std::unexpected(found.error());
  return file;
}

Result<void> ShadowFile::recover() {
  const auto first = read_table(0), second = read_table(1);
  if (!first && !second) return failure(path_ + " has no table that is whole");
  area_ = !first || (second && *second > *first) ? 1 : 0;
  epoch_ = *read_table(area_);
  table_.resize(shape_.pages);
  std::memcpy(table_.data(), buffer_->data() + sizeof(TableHead), table_.size() * sizeof table_[0]);
  const RecordHead* last = nullptr;
  while (const RecordHead* const record = record_at(position_)) {
    if (last != nullptr) take_moves(*last);
    last = record;
    position_ += in_blocks(record_bytes(record->count, record->hashed != 0));
    ++sequence_;
  }
  // A record that has one behind it was flushed with its pages.
  if (last != nullptr && has_its_pages(*last)) take_moves(*last);
  taken_.assign(places(), false);
  for (const std::uint32_t place : table_) taken_[place] = true;
  free_ = shape_.spare;
  return checkpoint();  // of a new epoch: a record that was not believed never will be
}

// Reads the area into the buffer. Its epoch; none: its table is not whole.
std::optional<std::uint64_t> ShadowFile::read_table(unsigned area) {
  const auto offset = static_cast<off_t>(area * area_bytes());
  if (pread(cached_, buffer_->data(), area_bytes(), offset) != ssize_t(area_bytes())) return {};
  const auto* const head = reinterpret_cast<const TableHead*>(buffer_->data());
  const bool whole = head->magic == kTableMagic && head->pages == shape_.pages &&
                     head->places == places() && head->checksum == checksum_of(head, table_bytes());
  return whole ? std::optional(head->epoch) : std::nullopt;
}

// In the area that is in the buffer. Null: there is none that is whole.
const ShadowFile::RecordHead* ShadowFile::record_at(std::uint64_t position) const {
  if (position + sizeof(RecordHead) > shape_.log_bytes) return nullptr;
  const std::byte* const at = buffer_->data() + table_bytes() + position;
  const auto* const head = reinterpret_cast<const RecordHead*>(at);
  const bool expected =
      head->magic == kRecordMagic && head->epoch == epoch_ && head->sequence == sequence_;
  if (!expected) return nullptr;
  const std::uint64_t bytes = record_bytes(head->count, head->hashed != 0);
  if (bytes > shape_.log_bytes - position) return nullptr;
  return head->checksum == checksum_of(head, bytes) ? head : nullptr;
}

void ShadowFile::take_moves(const RecordHead& record) {
  const auto* const moves = reinterpret_cast<const Move*>(&record + 1);
  for (const Move& move : std::span(moves, record.count)) table_[move.page] = move.place;
}

bool ShadowFile::has_its_pages(const RecordHead& record) const {
  if (record.hashed == 0) return true;
  const auto* const moves = reinterpret_cast<const Move*>(&record + 1);
  const auto* hash = reinterpret_cast<const base::Hash128*>(moves + record.count);
  std::vector<std::byte> page(kPageBytes);
  for (const Move& move : std::span(moves, record.count)) {
    const auto offset = static_cast<off_t>(places_start() + move.place * kPageBytes);
    if (pread(cached_, page.data(), kPageBytes, offset) != ssize_t{kPageBytes}) return false;
    if (base::hash_page(page.data()) != *hash++) return false;
  }
  return true;
}

}  // namespace holdfast::bench
