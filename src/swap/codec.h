// Compression and decompression of pages without allocating: every state that lz4 and zstd need
// stands in workspaces made at the beginning, which callers borrow.
//
// Who owns what: the Codec owns the workspaces; a Lease borrows one until it leaves its scope.
// Flow: Codec::Lease lease(codec); n = codec.compress(lease, ...); ... codec.decompress(...).
// Decompressing lz4 needs no workspace; zstd takes one for itself.
// Task context; several threads at once.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "base/base.h"
#include "swap/lease_pool.h"
#include "swap/location.h"
#include "sys/sys.h"

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
  [[nodiscard]] std::uint32_t compress_zstd(std::byte* space, const std::byte* page,
                                            std::byte* out) noexcept;
  [[nodiscard]] bool decompress_zstd(const std::byte* image, std::uint32_t length,
                                     std::byte* page) noexcept;

  // Constant after create().
  sys::Machine& machine_;
  LeasePool pool_;
  bool with_zstd_;
  std::uint64_t lz4_bytes_ = 0, compressor_bytes_ = 0, decompressor_bytes_ = 0;
  std::uint64_t stride_ = 0;  // bytes of one workspace
  Address address_ = 0;
  std::uint64_t bytes_ = 0;
  std::byte* memory_ = nullptr;
};

}  // namespace holdfast::swap
