#include "image/group_codec.h"

#include <lz4.h>

#include <cstring>

#define ZSTD_STATIC_LINKING_ONLY  // for ZSTD_initStaticDCtx: a context in memory of ours
#include <zstd.h>

namespace holdfast::image {
namespace {

// As fast as lz4 nearly, and a third shorter: whoever asks for zstd wants the file small.
constexpr int kZstdLevel = 1;

// The longest payload that is worth decompressing.
std::uint32_t payload_max(std::uint32_t raw) noexcept { return raw - raw / 8; }

}  // namespace

GroupCompressor::GroupCompressor(Encoding wanted) : wanted_(wanted) {
  if (wanted == Encoding::lz4) {
    lz4_state_ = std::make_unique<std::byte[]>(static_cast<std::size_t>(LZ4_sizeofState()));
  } else if (wanted == Encoding::zstd) {
    zstd_ = ZSTD_createCCtx();  // null: out of memory, and groups are stored raw
  }
}

GroupCompressor::~GroupCompressor() { ZSTD_freeCCtx(zstd_); }

Packed GroupCompressor::pack(const std::byte* from, std::uint32_t pages,
                             std::byte* payload) noexcept {
  const auto raw = static_cast<std::uint32_t>(pages * kPageSize);
  if (wanted_ == Encoding::lz4) {
    const int length = LZ4_compress_fast_extState(
        lz4_state_.get(), reinterpret_cast<const char*>(from), reinterpret_cast<char*>(payload),
        static_cast<int>(raw), static_cast<int>(payload_max(raw)), 1);
    if (length > 0) return {Encoding::lz4, static_cast<std::uint32_t>(length)};
  } else if (zstd_ != nullptr) {
    const std::size_t length =
        ZSTD_compressCCtx(zstd_, payload, payload_max(raw), from, raw, kZstdLevel);
    if (!ZSTD_isError(length)) return {Encoding::zstd, static_cast<std::uint32_t>(length)};
  }
  std::memcpy(payload, from, raw);
  return {Encoding::raw, raw};
}

std::size_t unpack_state_bytes() noexcept { return round_up(ZSTD_estimateDCtxSize(), 64); }

bool unpack(Packed packed, const std::byte* payload, std::uint32_t pages, std::byte* to,
            std::byte* state) noexcept {
  const std::size_t raw = pages * kPageSize;
  switch (packed.encoding) {
    case Encoding::raw:
      if (packed.bytes != raw) return false;
      std::memcpy(to, payload, raw);
      return true;
    case Encoding::lz4:
      return LZ4_decompress_safe(reinterpret_cast<const char*>(payload),
                                 reinterpret_cast<char*>(to), static_cast<int>(packed.bytes),
                                 static_cast<int>(raw)) == static_cast<int>(raw);
    case Encoding::zstd: {
      // Made anew each time: a few fields, and nothing of the last group's can be left in it.
      ZSTD_DCtx* const context = ZSTD_initStaticDCtx(state, unpack_state_bytes());
      return context != nullptr &&
             ZSTD_decompressDCtx(context, to, raw, payload, packed.bytes) == raw;
    }
  }
  return false;
}

}  // namespace holdfast::image
