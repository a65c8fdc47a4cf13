// Compressing and decompressing groups of pages. A group is compressed as one block: neighbours
// have much in common, and 16 pages take lz4 little longer than their bytes say.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "base/base.h"
#include "image/format.h"

struct ZSTD_CCtx_s;
struct ZSTD_DCtx_s;

namespace holdfast::image {

// A payload as it will stand in the file.
struct Packed {
  Encoding encoding = Encoding::raw;
  std::uint32_t bytes = 0;
};

// Compresses groups; one for each thread that does. Task context (allocates when it is made).
class GroupCompressor {
 public:
  explicit GroupCompressor(Encoding wanted);
  ~GroupCompressor();
  GroupCompressor(const GroupCompressor&) = delete;
  GroupCompressor& operator=(const GroupCompressor&) = delete;

  // Packs `pages` pages that stand one after the other into `payload`, which has room for as many
  // bytes. What would not get an eighth shorter is stored raw.
  [[nodiscard]] Packed pack(const std::byte* from, std::uint32_t pages,
                            std::byte* payload) noexcept;

 private:
  const Encoding wanted_;
  std::unique_ptr<std::byte[]> lz4_state_;
  ZSTD_CCtx_s* zstd_ = nullptr;
};

// Bytes that a workspace for unpacking zstd takes.
[[nodiscard]] std::size_t unpack_state_bytes() noexcept;

// Makes `pages` pages at `to` of a payload. False: it is damaged. `state`: unpack_state_bytes(),
// aligned to 8, for zstd; else it may be null. Async-signal-safe.
[[nodiscard]] bool unpack(Packed packed, const std::byte* payload, std::uint32_t pages,
                          std::byte* to, std::byte* state) noexcept;

}  // namespace holdfast::image
