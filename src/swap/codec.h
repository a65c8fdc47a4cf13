// Compression and decompression of pages without allocating: every state that lz4 and zstd need
// stands in workspaces made at the beginning, which callers borrow.
//
// Who owns what: the Codec owns the workspaces; a Lease borrows one until it leaves its scope.
// Flow: Codec::Lease lease(codec); n = codec.compress(lease, ...); ... codec.decompress(...).
// Decompressing lz4 needs no workspace; zstd takes one for itself.
//
// An lz4 image is: 2 bytes, the length of the page's head; 8 bytes, the word that repeats from
// there to the page's end (absent where the head is the whole page); the head as an lz4 block. Many
// pages end in zeros, and lz4's slowest path is a run that reaches the end of its output: 2 us a
// page, against 0.2 without it. Task context; several threads at once.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "base/base.h"
#include "swap/location.h"
#include "sync/sync.h"
#include "sys/sys.h"

struct ZSTD_CCtx_s;
struct ZSTD_DCtx_s;

namespace holdfast::swap {

class Codec {
 public:
  // An image must be at least 1/8 shorter than its page: less saves nothing worth decompressing.
  static constexpr std::uint32_t kImageMax = kPageSize - kPageSize / 8;

  // with_zstd: makes zstd's states too (0.2 MiB a workspace). Errors: out of address space.
  [[nodiscard]] static Expected<std::unique_ptr<Codec>> create(sys::Machine& machine,
                                                               bool with_zstd);
  ~Codec();
  Codec(const Codec&) = delete;
  Codec& operator=(const Codec&) = delete;

  class Lease {
   public:
    explicit Lease(Codec& codec) noexcept : codec_(codec), index_(codec.pool_.take()) {}
    ~Lease() { codec_.pool_.give(index_); }
    Lease(const Lease&) = delete;
    Lease& operator=(const Lease&) = delete;
    // Room for one image and one copy of an image, kPageSize each.
    [[nodiscard]] std::byte* image_room() const noexcept;
    [[nodiscard]] std::byte* copy_room() const noexcept;

   private:
    friend class Codec;
    Codec& codec_;
    std::uint32_t index_;
  };

  // Compresses kPageSize bytes into `out` (kImageMax bytes of room). Returns the length of the
  // image, or 0 where it would not be shorter than kImageMax. encoding: lz4 or zstd.
  [[nodiscard]] std::uint32_t compress(const Lease& lease, Encoding encoding, const std::byte* page,
                                       std::byte* out) noexcept;
  // Makes kPageSize bytes of `length` bytes of image; false: the image is damaged.
  [[nodiscard]] bool decompress(Encoding encoding, const std::byte* image, std::uint32_t length,
                                std::byte* page) noexcept;

  [[nodiscard]] bool idle() const noexcept { return pool_.idle(); }

 private:
  Codec(sys::Machine& machine, std::uint32_t count, bool with_zstd);
  Expected<void> prepare();
  [[nodiscard]] std::byte* workspace(std::uint32_t index) const noexcept;
  [[nodiscard]] std::uint32_t compress_lz4(std::byte* state, const std::byte* page,
                                           std::byte* out) noexcept;
  [[nodiscard]] static bool decompress_lz4(const std::byte* image, std::uint32_t length,
                                           std::byte* page) noexcept;
  [[nodiscard]] bool decompress_zstd(const std::byte* image, std::uint32_t length,
                                     std::byte* page) noexcept;

  // zstd's contexts, each in its workspace; made once, as making them costs more than a page.
  struct Contexts {
    ZSTD_CCtx_s* compressor = nullptr;
    ZSTD_DCtx_s* decompressor = nullptr;
  };

  // Constant after create().
  sys::Machine& machine_;
  sync::LeasePool pool_;
  bool with_zstd_;
  std::uint64_t lz4_bytes_ = 0, compressor_bytes_ = 0, decompressor_bytes_ = 0;
  std::uint64_t stride_ = 0;  // bytes of one workspace
  Address address_ = 0;
  std::uint64_t bytes_ = 0;
  std::byte* memory_ = nullptr;
  std::unique_ptr<Contexts[]> contexts_;  // one a workspace, with zstd
};

}  // namespace holdfast::swap
