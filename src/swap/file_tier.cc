#include "swap/file_tier.h"

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstring>

namespace holdfast::swap {
namespace {
constexpr std::uint32_t kClusterBytesMin = 4 * kPageSize;
constexpr std::uint32_t kSegmentRoomMin = 2 * kPageSize;  // a directory and one raw page
}  // namespace

FileTier::FileTier(sys::Machine& machine, const TierOptions& options, unsigned index)
    : machine_(machine),
      options_(options),
      index_(index),
      clusters_(machine),
      writer_pool_(machine.cpu_count() * 2 + 4),
      read_pool_(machine.cpu_count() * 2 + 4) {}

FileTier::~FileTier() {
  if (staging_bytes_ != 0) machine_.release(staging_, staging_bytes_);
}

Expected<std::unique_ptr<Tier>> FileTier::create(sys::Machine& machine, const TierOptions& options,
                                                 std::uint64_t slots_max, unsigned index) {
  std::unique_ptr<FileTier> tier(new FileTier(machine, options, index));
  TRY_VOID(tier->prepare(slots_max));
  return tier;
}

Expected<void> FileTier::prepare(std::uint64_t slots_max) {
  const std::uint32_t bytes = options_.cluster_bytes;
  if (!std::has_single_bit(bytes) || bytes < kClusterBytesMin || bytes > kClusterBytesMax) {
    return fail({.code = Errc::invalid_argument,
                 .doing = "create swap",
                 .what = "cluster_bytes",
                 .value = bytes,
                 .limit = kClusterBytesMax,
                 .remedy = "a power of two, 16 KiB to 4 MiB"});
  }
  if (options_.limit_bytes != 0 && options_.limit_bytes < bytes) {
    return fail({.code = Errc::invalid_argument,
                 .doing = "create swap",
                 .what = "limit_bytes",
                 .value = options_.limit_bytes,
                 .limit = bytes,
                 .remedy = "give the file at least one cluster, or 0 for no limit"});
  }
  // Without a limit: all slots' pages raw, in clusters that are half dead on average.
  const std::uint64_t needed = 2 * slots_max * kPageSize / bytes + 16;
  const std::uint64_t most = options_.limit_bytes != 0 ? options_.limit_bytes / bytes : needed;
  const std::uint64_t nameable = (std::uint64_t{1} << kPlaceBits) / (bytes / kPlaceUnit);
  cluster_units_ = bytes / kPlaceUnit;
  TRY_VOID(clusters_.reserve(
      static_cast<std::uint32_t>(std::min({most, nameable, std::uint64_t{base::kNoLink - 1}})),
      bytes));
  file_ = TRY(machine_.create_swap_file({.directory = options_.directory, .backend = options_.io}));
  HF_CHECK2(kPageSize % file_->block_bytes() == 0, file_->block_bytes(), 0);
  if (options_.encrypted) sealer_ = TRY(Sealer::create(machine_));
  return prepare_staging();
}

Expected<void> FileTier::prepare_staging() {
  // Every image of a read on its own, each across two pages; or a whole cluster.
  read_bytes_ = std::max<std::uint64_t>(options_.cluster_bytes, kReadItemsMax * 2 * kPageSize);
  const std::uint64_t write_total = std::uint64_t{writer_pool_.count()} * options_.cluster_bytes;
  const std::uint64_t areas = write_total + read_pool_.count() * read_bytes_;
  const std::uint64_t pages = sealer_ == nullptr ? 0 : writer_pool_.count() + read_pool_.count();
  const std::uint64_t bytes = areas + pages * kPageSize;
  staging_ = TRY(machine_.reserve(bytes, kPageSize, sys::Purpose::table));
  staging_bytes_ = bytes;
  writers_ = std::make_unique<Writer[]>(writer_pool_.count());
  read_areas_ = std::make_unique<ReadArea[]>(read_pool_.count());
  std::byte* memory = machine_.view(staging_);
  for (std::uint32_t i = 0; i < writer_pool_.count(); ++i) {
    writers_[i].buffer = memory + std::uint64_t{i} * options_.cluster_bytes;
  }
  for (std::uint32_t i = 0; i < read_pool_.count(); ++i) {
    read_areas_[i].buffer = memory + write_total + i * read_bytes_;
  }
  std::byte* page = memory + areas;
  for (std::uint32_t i = 0; pages != 0 && i < writer_pool_.count(); ++i, page += kPageSize) {
    writers_[i].page = page;
  }
  for (std::uint32_t i = 0; pages != 0 && i < read_pool_.count(); ++i, page += kPageSize) {
    read_areas_[i].page = page;
  }
  return {};
}

Error FileTier::full_error() const noexcept {
  return {.code = Errc::swap_full,
          .doing = "store page",
          .what = "swap file",
          .value = std::uint64_t{clusters_.touched()} * options_.cluster_bytes,
          .limit = options_.limit_bytes};
}

Verdict FileTier::add(std::uint32_t& writer, const Image& image, const WriteTerms& terms,
                      Completion& completion, std::uint64_t&, Error& error) noexcept {
  HF_DCHECK2(image.length > 0 && image.length <= kPageSize, image.length, image.slot.value);
  if (writer == kNoWriter) writer = writer_pool_.take();
  Writer& w = writers_[writer];
  if (w.cluster != base::kNoLink && pack(w, image)) return Verdict::queued;
  if (w.cluster != base::kNoLink) {
    write_out(w, terms, completion);
    return Verdict::again;
  }
  if (!begin(w, terms)) {
    counters_.refused.fetch_add(1, std::memory_order_relaxed);
    error = full_error();
    return Verdict::refused;
  }
  const bool packed = pack(w, image);
  HF_CHECK2(packed, image.length, w.layout.end());
  return Verdict::queued;
}

void FileTier::flush(std::uint32_t& writer, const WriteTerms& terms,
                     Completion& completion) noexcept {
  if (writer == kNoWriter) return;
  Writer& w = writers_[writer];
  if (w.cluster != base::kNoLink) write_out(w, terms, completion);
  writer_pool_.give(writer);
  writer = kNoWriter;
}

bool FileTier::begin(Writer& w, const WriteTerms& terms) noexcept {
  HF_DCHECK(w.cluster == base::kNoLink);
  w.cluster = clusters_.take(kSegmentRoomMin, terms.compacting);
  if (w.cluster == base::kNoLink) return false;
  w.start = clusters_.at(w.cluster).fill;
  w.layout = SegmentLayout(clusters_.room(w.cluster), std::max(1U, terms.expected));
  return true;
}

bool FileTier::pack(Writer& w, const Image& image) noexcept {
  const std::uint32_t i = w.layout.count();
  const std::uint32_t at = w.layout.place(room_for(image.length));
  if (at == SegmentLayout::kNone) return false;
  const SegmentEntry entry{.slot = image.slot.value,
                           .unit = static_cast<std::uint16_t>(at / kPlaceUnit),
                           .shape = static_cast<std::uint16_t>(
                               static_cast<unsigned>(image.encoding) << 13 | image.length)};
  std::memcpy(w.buffer + sizeof(SegmentHeader) + i * sizeof entry, &entry, sizeof entry);
  if (sealer_ != nullptr) {
    seal(entry, image.data, w.buffer + at);
  } else {
    std::memcpy(w.buffer + at, image.data, image.length);
  }
  w.cookies[i] = image.cookie;
  return true;
}

void FileTier::seal(const SegmentEntry& entry, const std::byte* text, std::byte* to) noexcept {
  const std::uint64_t number = sealed_.fetch_add(1, std::memory_order_relaxed) + 1;
  std::memcpy(to, &number, kNumberBytes);
  sealer_->seal({.object = number, .slot = entry.slot, .shape = entry.shape}, text, entry.length(),
                to + kNumberBytes);
}

bool FileTier::open(const SegmentEntry& entry, const std::byte* sealed, std::byte* text) noexcept {
  std::uint64_t number = 0;
  std::memcpy(&number, sealed, kNumberBytes);
  return sealer_->open({.object = number, .slot = entry.slot, .shape = entry.shape},
                       sealed + kNumberBytes, entry.length(), text);
}

Image FileTier::image_of(const Writer& w, std::uint32_t i) const noexcept {
  SegmentEntry entry;
  std::memcpy(&entry, w.buffer + sizeof(SegmentHeader) + i * sizeof entry, sizeof entry);
  return {.slot = SlotIndex(entry.slot),
          .cookie = w.cookies[i],
          .encoding = entry.encoding(),
          .length = entry.length(),
          .data = w.buffer + std::uint64_t{entry.unit} * kPlaceUnit};
}

void FileTier::write_out(Writer& w, const WriteTerms& terms, Completion& completion) noexcept {
  sync::check_may_wait();
  int error = try_write(w);
  if (error != 0) {
    give_up_cluster(w, error);
    w.cluster = clusters_.take(w.layout.end(), terms.compacting);
    // New clusters have all the room there is, but not where the file system gives no more.
    if (w.cluster == base::kNoLink) return refuse(w, error, completion);
    w.start = clusters_.at(w.cluster).fill;
    error = try_write(w);
    if (error != 0) {
      give_up_cluster(w, error);
      return refuse(w, error, completion);
    }
  }
  settle(w, terms, completion);
}

int FileTier::try_write(Writer& w) noexcept {
  HF_DCHECK2(w.start + w.layout.end() <= options_.cluster_bytes, w.start, w.layout.end());
  const SegmentHeader header{.generation = clusters_.at(w.cluster).generation,
                             .count = w.layout.count(),
                             .bytes = w.layout.end()};
  std::memcpy(w.buffer, &header, sizeof header);
  sys::IoRequest request{.data = w.buffer,
                         .bytes = w.layout.end(),
                         .offset = std::uint64_t{w.cluster} * options_.cluster_bytes + w.start};
  file_->write({&request, 1});
  if (request.error == 0) counters_.written.fetch_add(request.bytes, std::memory_order_relaxed);
  return request.error;
}

void FileTier::give_up_cluster(Writer& w, int error) noexcept {
  if (error == ENOSPC || error == EDQUOT || error == EFBIG) {
    clusters_.stop_growing();
    clusters_.close(w.cluster);
  } else {
    counters_.write_errors.fetch_add(1, std::memory_order_relaxed);
    clusters_.retire(w.cluster);
  }
  w.cluster = base::kNoLink;
}

void FileTier::settle(Writer& w, const WriteTerms& terms, Completion& completion) noexcept {
  Cluster& cluster = clusters_.at(w.cluster);
  cluster.fill = w.start + w.layout.end();
  cluster.backed = std::max(cluster.backed, cluster.fill);
  const std::uint64_t base_place = std::uint64_t{w.cluster} * cluster_units_ + w.start / kPlaceUnit;
  std::uint64_t bytes = 0;
  std::uint32_t units = 0;
  const std::uint32_t count = w.layout.count();
  for (std::uint32_t i = 0; i < count; ++i) {
    const Image image = image_of(w, i);
    bytes += image.length;
    units += units_of(room_for(image.length));
  }
  // All uses first: the first slot that learns its place may be freed at once.
  clusters_.use(w.cluster, count, units);
  counters_.pages.fetch_add(count, std::memory_order_relaxed);
  counters_.image_bytes.fetch_add(bytes, std::memory_order_relaxed);
  (terms.compacting ? counters_.moved : counters_.stores)
      .fetch_add(count, std::memory_order_relaxed);
  for (std::uint32_t i = 0; i < count; ++i) {
    const Image image = image_of(w, i);
    const auto offset = static_cast<std::uint64_t>(image.data - w.buffer);
    completion.stored(index_, image, base_place + offset / kPlaceUnit);
  }
  clusters_.put_back(w.cluster);
  w.cluster = base::kNoLink;
}

void FileTier::refuse(Writer& w, int error, Completion& completion) noexcept {
  const bool full = error == ENOSPC || error == EDQUOT || error == EFBIG;
  const std::uint32_t count = w.layout.count();
  if (full) counters_.refused.fetch_add(count, std::memory_order_relaxed);
  const Error why{.code = full ? Errc::swap_full : Errc::io_error,
                  .os_errno = error,
                  .doing = "write to swap file",
                  .what = "errno",
                  .value = w.start};
  for (std::uint32_t i = 0; i < count; ++i) {
    Image image = image_of(w, i);
    if (sealer_ != nullptr) {  // whoever takes it next wants it in plain
      SegmentEntry entry;
      std::memcpy(&entry, w.buffer + sizeof(SegmentHeader) + i * sizeof entry, sizeof entry);
      const bool genuine = open(entry, image.data, w.page);
      HF_CHECK2(genuine, entry.slot, i);
      image.data = w.page;
    }
    completion.refused(index_, image, why);
  }
  w.cluster = base::kNoLink;
}

}  // namespace holdfast::swap
