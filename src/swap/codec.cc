#include "swap/codec.h"

#include <lz4.h>

#include <cstring>

#define ZSTD_STATIC_LINKING_ONLY  // for ZSTD_initStatic*: contexts in memory of ours
#include <zstd.h>

namespace holdfast::swap {
namespace {
constexpr int kZstdLevel = 1;  // the fastest: a page is compressed while somebody waits for room
constexpr std::uint64_t kAlign = 64;

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
  std::byte* state = workspace(lease.index_) + 2 * kPageSize;
  if (encoding == Encoding::zstd) return compress_zstd(state + lz4_bytes_, page, out);
  const int length = LZ4_compress_fast_extState(
      state, reinterpret_cast<const char*>(page), reinterpret_cast<char*>(out),
      static_cast<int>(kPageSize), static_cast<int>(kImageMax), 1);
  return length > 0 ? static_cast<std::uint32_t>(length) : 0;
}

std::uint32_t Codec::compress_zstd(std::byte* space, const std::byte* page,
                                   std::byte* out) noexcept {
  HF_CHECK(with_zstd_);
  ZSTD_CCtx* context = ZSTD_initStaticCCtx(space, compressor_bytes_);
  HF_CHECK2(context != nullptr, compressor_bytes_, 0);
  const std::size_t length =
      ZSTD_compressCCtx(context, out, kImageMax, page, kPageSize, kZstdLevel);
  return ZSTD_isError(length) ? 0 : static_cast<std::uint32_t>(length);
}

bool Codec::decompress(Encoding encoding, const std::byte* image, std::uint32_t length,
                       std::byte* page) noexcept {
  switch (encoding) {
    case Encoding::raw:
      if (length != kPageSize) return false;
      std::memcpy(page, image, kPageSize);
      return true;
    case Encoding::lz4:
      return LZ4_decompress_safe(reinterpret_cast<const char*>(image),
                                 reinterpret_cast<char*>(page), static_cast<int>(length),
                                 static_cast<int>(kPageSize)) == static_cast<int>(kPageSize);
    case Encoding::zstd:
      return decompress_zstd(image, length, page);
  }
  return false;
}

bool Codec::decompress_zstd(const std::byte* image, std::uint32_t length,
                            std::byte* page) noexcept {
  if (!with_zstd_) return false;
  const Lease lease(*this);
  std::byte* space = workspace(lease.index_) + 2 * kPageSize + lz4_bytes_ + compressor_bytes_;
  ZSTD_DCtx* context = ZSTD_initStaticDCtx(space, decompressor_bytes_);
  HF_CHECK2(context != nullptr, decompressor_bytes_, 0);
  return ZSTD_decompressDCtx(context, page, kPageSize, image, length) == kPageSize;
}

}  // namespace holdfast::swap
