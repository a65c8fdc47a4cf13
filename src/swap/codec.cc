#include "swap/codec.h"

#include <lz4.h>

#include <cstring>

#define ZSTD_STATIC_LINKING_ONLY  // for ZSTD_initStatic*: contexts in memory of ours
#include <zstd.h>

namespace holdfast::swap {
namespace {
constexpr int kZstdLevel = 1;  // the fastest: a page is compressed while somebody waits for room
constexpr std::uint64_t kAlign = 64;

// An lz4 image's head length; a shorter repeated tail than this is left to lz4.
using HeadLength = std::uint16_t;
constexpr std::uint32_t kTailMin = 256;
constexpr std::uint32_t kTailStep = 64;  // compared at a time: one cache line

// How many bytes of the page come before its tail of one repeated word, in steps of kTailStep.
std::uint32_t head_length(const std::byte* page, std::uint64_t& word) noexcept {
  std::memcpy(&word, page + kPageSize - sizeof word, sizeof word);
  std::uint32_t head = kPageSize;
  while (head > 0) {
    std::uint64_t line[kTailStep / sizeof word];
    std::memcpy(line, page + head - kTailStep, sizeof line);
    std::uint64_t differs = 0;
    for (const std::uint64_t w : line) differs |= w ^ word;
    if (differs != 0) break;
    head -= kTailStep;
  }
  return kPageSize - head >= kTailMin ? head : std::uint32_t{kPageSize};
}

std::uint64_t compressor_size() noexcept {
  // For inputs of one page; the general estimate is eight times as large.
  return round_up(ZSTD_estimateCCtxSize_usingCParams(ZSTD_getCParams(kZstdLevel, kPageSize, 0)),
                  kAlign);
}
}  // namespace

// A workspace: image room, copy room, lz4 state, zstd compressor, zstd decompressor.
Codec::Codec(sys::Machine& machine, std::uint32_t count, bool with_zstd)
    : machine_(machine), pool_(count), with_zstd_(with_zstd) {
  lz4_bytes_ = round_up(static_cast<std::uint64_t>(LZ4_sizeofState()), kAlign);
  if (with_zstd) {
    compressor_bytes_ = compressor_size();
    decompressor_bytes_ = round_up(ZSTD_estimateDCtxSize(), kAlign);
  }
  stride_ =
      round_up(2 * kPageSize + lz4_bytes_ + compressor_bytes_ + decompressor_bytes_, kPageSize);
}

Codec::~Codec() {
  HF_DCHECK(pool_.idle());
  if (bytes_ != 0) machine_.release(address_, bytes_);
}

Expected<std::unique_ptr<Codec>> Codec::create(sys::Machine& machine, bool with_zstd) {
  const std::uint32_t count = machine.cpu_count() * 2 + 4;
  std::unique_ptr<Codec> codec(new Codec(machine, count, with_zstd));
  TRY_VOID(codec->prepare());
  return codec;
}

Expected<void> Codec::prepare() {
  const std::uint64_t bytes = stride_ * pool_.count();
  address_ = TRY(machine_.reserve(bytes, kPageSize, sys::Purpose::table));
  bytes_ = bytes;
  memory_ = machine_.view(address_);
  if (!with_zstd_) return {};
  contexts_ = std::make_unique<Contexts[]>(pool_.count());
  for (std::uint32_t i = 0; i < pool_.count(); ++i) {
    std::byte* space = workspace(i) + 2 * kPageSize + lz4_bytes_;
    contexts_[i].compressor = ZSTD_initStaticCCtx(space, compressor_bytes_);
    contexts_[i].decompressor = ZSTD_initStaticDCtx(space + compressor_bytes_, decompressor_bytes_);
    HF_CHECK2(contexts_[i].compressor != nullptr && contexts_[i].decompressor != nullptr, i,
              stride_);
  }
  return {};
}

std::byte* Codec::workspace(std::uint32_t index) const noexcept {
  return memory_ + stride_ * index;
}
std::byte* Codec::Lease::image_room() const noexcept { return codec_.workspace(index_); }
std::byte* Codec::Lease::copy_room() const noexcept { return codec_.workspace(index_) + kPageSize; }

std::uint32_t Codec::compress(const Lease& lease, Encoding encoding, const std::byte* page,
                              std::byte* out) noexcept {
  HF_DCHECK(encoding != Encoding::raw);
  if (encoding == Encoding::zstd) {
    HF_CHECK(with_zstd_);
    const std::size_t length = ZSTD_compressCCtx(contexts_[lease.index_].compressor, out, kImageMax,
                                                 page, kPageSize, kZstdLevel);
    return ZSTD_isError(length) ? 0 : static_cast<std::uint32_t>(length);
  }
  return compress_lz4(workspace(lease.index_) + 2 * kPageSize, page, out);
}

std::uint32_t Codec::compress_lz4(std::byte* state, const std::byte* page,
                                  std::byte* out) noexcept {
  std::uint64_t word = 0;
  const auto head = static_cast<HeadLength>(head_length(page, word));
  std::memcpy(out, &head, sizeof head);
  std::uint32_t at = sizeof head;
  if (head < kPageSize) {
    std::memcpy(out + at, &word, sizeof word);
    at += sizeof word;
  }
  if (head == 0) return at;
  const int length = LZ4_compress_fast_extState(
      state, reinterpret_cast<const char*>(page), reinterpret_cast<char*>(out + at),
      static_cast<int>(head), static_cast<int>(kImageMax - at), 1);
  return length > 0 ? at + static_cast<std::uint32_t>(length) : 0;
}

bool Codec::decompress_lz4(const std::byte* image, std::uint32_t length, std::byte* page) noexcept {
  HeadLength head = 0;
  std::uint64_t word = 0;
  std::uint32_t at = sizeof head;
  if (length < at) return false;
  std::memcpy(&head, image, sizeof head);
  if (head > kPageSize || head % kTailStep != 0) return false;
  if (head < kPageSize) {
    if (length < at + sizeof word) return false;
    std::memcpy(&word, image + at, sizeof word);
    at += sizeof word;
    for (std::uint32_t i = head; i < kPageSize; i += sizeof word) {
      std::memcpy(page + i, &word, sizeof word);
    }
  }
  if (head == 0) return length == at;
  return LZ4_decompress_safe(reinterpret_cast<const char*>(image + at),
                             reinterpret_cast<char*>(page), static_cast<int>(length - at),
                             static_cast<int>(head)) == static_cast<int>(head);
}

bool Codec::decompress(Encoding encoding, const std::byte* image, std::uint32_t length,
                       std::byte* page) noexcept {
  switch (encoding) {
    case Encoding::raw:
      if (length != kPageSize) return false;
      std::memcpy(page, image, kPageSize);
      return true;
    case Encoding::lz4:
      return decompress_lz4(image, length, page);
    case Encoding::zstd:
      return decompress_zstd(image, length, page);
  }
  return false;
}

bool Codec::decompress_zstd(const std::byte* image, std::uint32_t length,
                            std::byte* page) noexcept {
  if (!with_zstd_) return false;
  const Lease lease(*this);
  ZSTD_DCtx_s* context = contexts_[lease.index_].decompressor;
  return ZSTD_decompressDCtx(context, page, kPageSize, image, length) == kPageSize;
}

}  // namespace holdfast::swap
