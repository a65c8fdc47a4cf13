// The bytes of an image as objects in a store beyond this machine: object 0 has the first of them,
// all are of one size but the last.
//
// Flow of writing: append() fills buffers of one object each, which are written while the next
// fill; commit() waits for all of them and publishes the image. A sink that goes without it removes
// what it has written. Flow of reading: a piece from each object that the range lies in, in flight
// together, in any thread and fault handler.
#pragma once

#include <array>
#include <atomic>
#include <memory>
#include <vector>

#include "image/format.h"
#include "sys/sys.h"

namespace holdfast::image {

inline constexpr std::uint64_t kFarObjectBytes = 4ull << 20;

class FarSource final : public sys::ByteSource {
 public:
  explicit FarSource(sys::OpenedFarImage opened) noexcept : opened_(std::move(opened)) {}

  int read(std::uint64_t offset, std::byte* to, std::uint64_t bytes) noexcept override;
  std::uint64_t size() const noexcept override { return opened_.image.bytes; }
  Error error_of(int os_errno, std::uint64_t offset) const noexcept override;

 private:
  static constexpr std::size_t kAtOnce = 8;

  [[nodiscard]] int read_some(std::uint64_t offset, std::byte* to, std::uint64_t bytes,
                              std::uint64_t& done) noexcept;

  const sys::OpenedFarImage opened_;
};

class FarSink final : public sys::ByteSink {
 public:
  // `store`: a new session for an image of that name. object_bytes: tests use less.
  FarSink(std::unique_ptr<sys::ObjectStore> store, std::string name,
          std::uint64_t object_bytes = kFarObjectBytes);
  ~FarSink() override;
  FarSink(const FarSink&) = delete;
  FarSink& operator=(const FarSink&) = delete;

  int append(const std::byte* from, std::uint64_t bytes) noexcept override;
  Expected<void> commit() override;
  Error error_of(int os_errno, std::uint64_t offset) const noexcept override;

 private:
  static constexpr std::size_t kBuffers = 4;

  struct Buffer {
    std::unique_ptr<std::byte[]> data;
    sys::ObjectRequest request;
    std::atomic<std::uint32_t> in_flight{0};  // 1: it is
  };

  static void answered(sys::ObjectRequest& request) noexcept;
  void send(std::uint64_t bytes) noexcept;
  void await(Buffer& buffer) noexcept;
  void remove_all() noexcept;

  const std::unique_ptr<sys::ObjectStore> store_;
  const std::string name_;
  const std::uint64_t object_bytes_;
  std::array<Buffer, kBuffers> buffers_;
  std::uint64_t object_ = 0;  // that is being filled
  std::uint64_t fill_ = 0;    // bytes in it
  Header header_;             // the image's own, which its beginning is
  int error_ = 0;             // of the first write that failed,
  std::uint64_t failed_ = 0;  // and its object
  bool stays_ = false;        // it was published, or may have been
};

// What an image's writer says of it in the store, and what of that is read again.
struct FarLabel {
  Id id, base;
};
[[nodiscard]] std::string text_of(const FarLabel& label);
// None: it says nothing.
[[nodiscard]] FarLabel label_in(const std::string& text) noexcept;

}  // namespace holdfast::image
