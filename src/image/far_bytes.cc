#include "image/far_bytes.h"

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>

#include "sync/sync.h"

namespace holdfast::image {
namespace {

// A read of several objects; stands on the reader's stack.
struct Reading {
  std::atomic<std::uint32_t> left{0};
};

void piece_read(sys::ObjectRequest& request) noexcept {
  std::atomic<std::uint32_t>& left = static_cast<Reading*>(request.context)->left;
  // The address alone is used afterwards: the reader may have gone on.
  if (left.fetch_sub(1, std::memory_order_acq_rel) == 1) sync::parking().wake(left, 1);
}

Error far_error(int os_errno, const char* doing, std::uint64_t object) noexcept {
  Error error{.code = Errc::io_error,
              .os_errno = os_errno,
              .doing = doing,
              .what = "object of the image",
              .value = object,
              .remedy = "the cluster failed: ask it for its health"};
  if (os_errno == ETIMEDOUT) {
    error.remedy = "no answer in time: see that the cluster runs and can be reached";
  }
  return error;
}

}  // namespace

int FarSource::read(std::uint64_t offset, std::byte* to, std::uint64_t bytes) noexcept {
  if (offset > size() || bytes > size() - offset) return EIO;
  while (bytes > 0) {
    std::uint64_t done = 0;
    if (const int error = read_some(offset, to, bytes, done)) return error;
    offset += done;
    to += done;
    bytes -= done;
  }
  return 0;
}

int FarSource::read_some(std::uint64_t offset, std::byte* to, std::uint64_t bytes,
                         std::uint64_t& done) noexcept {
  const std::uint64_t object_bytes = opened_.image.object_bytes;
  std::array<sys::ObjectRequest, kAtOnce> requests;
  Reading reading;
  std::uint32_t count = 0;
  for (; count < kAtOnce && done < bytes; ++count) {
    const std::uint64_t at = offset + done;
    const std::uint64_t part = std::min(bytes - done, object_bytes - at % object_bytes);
    requests[count] = {.action = sys::ObjectAction::read,
                       .object = at / object_bytes,
                       .offset = at % object_bytes,
                       .data = to + done,
                       .bytes = part,
                       .done = &piece_read,
                       .context = &reading};
    done += part;
  }
  reading.left.store(count);
  for (std::uint32_t i = 0; i < count; ++i) opened_.store->submit(requests[i]);
  while (const std::uint32_t left = reading.left.load(std::memory_order_acquire)) {
    sync::parking().wait(reading.left, left, 0);
  }
  for (std::uint32_t i = 0; i < count; ++i) {
    if (requests[i].error != 0) return requests[i].error;
  }
  return 0;
}

Error FarSource::error_of(int os_errno, std::uint64_t offset) const noexcept {
  Error error =
      far_error(os_errno, "read image in far memory", offset / opened_.image.object_bytes);
  if (os_errno == ENOENT) error.remedy = "the image or its pool was removed while it was in use";
  return error;
}

FarSink::FarSink(std::unique_ptr<sys::ObjectStore> store, std::string name,
                 std::uint64_t object_bytes)
    : store_(std::move(store)), name_(std::move(name)), object_bytes_(object_bytes) {
  for (Buffer& buffer : buffers_) {
    buffer.data = std::make_unique_for_overwrite<std::byte[]>(object_bytes_);
  }
}

FarSink::~FarSink() {
  for (Buffer& buffer : buffers_) await(buffer);
  if (!stays_) remove_all();
}

int FarSink::append(const std::byte* from, std::uint64_t bytes) noexcept {
  while (bytes > 0) {
    Buffer& buffer = buffers_[object_ % kBuffers];
    if (fill_ == 0) await(buffer);
    if (error_ != 0) return error_;
    const std::uint64_t part = std::min(bytes, object_bytes_ - fill_);
    std::memcpy(buffer.data.get() + fill_, from, part);
    fill_ += part;
    from += part;
    bytes -= part;
    if (fill_ == object_bytes_) send(fill_);
  }
  return 0;
}

void FarSink::send(std::uint64_t bytes) noexcept {
  Buffer& buffer = buffers_[object_ % kBuffers];
  if (object_ == 0) std::memcpy(&header_, buffer.data.get(), std::min(bytes, sizeof header_));
  buffer.in_flight.store(1);
  buffer.request = {.action = sys::ObjectAction::write,
                    .object = object_,
                    .data = buffer.data.get(),
                    .bytes = bytes,
                    .done = &FarSink::answered,
                    .context = &buffer};
  ++object_;
  fill_ = 0;
  store_->submit(buffer.request);
}

void FarSink::answered(sys::ObjectRequest& request) noexcept {
  std::atomic<std::uint32_t>& in_flight = static_cast<Buffer*>(request.context)->in_flight;
  in_flight.store(0, std::memory_order_release);
  sync::parking().wake(in_flight, 1);  // the address alone: the sink may have gone
}

// The store answers every request, at the latest when its own patience has ended.
void FarSink::await(Buffer& buffer) noexcept {
  while (buffer.in_flight.load(std::memory_order_acquire) != 0) {
    sync::parking().wait(buffer.in_flight, 1, 0);
  }
  if (error_ != 0 || buffer.request.error == 0) return;
  error_ = buffer.request.error;
  failed_ = buffer.request.object;
}

Expected<void> FarSink::commit() {
  const std::uint64_t bytes = object_ * object_bytes_ + fill_;
  if (fill_ > 0) send(fill_);
  for (Buffer& buffer : buffers_) await(buffer);
  if (error_ != 0) return fail(error_of(error_, bytes));
  auto published = store_->publish({.name = name_,
                                    .label = text_of({.id = header_.id, .base = header_.base_id}),
                                    .object_bytes = object_bytes_,
                                    .bytes = bytes});
  // Without an answer it may be seen, and what is seen is whole.
  stays_ = published || published.error().code == Errc::timed_out;
  return published;
}

Error FarSink::error_of(int os_errno, std::uint64_t) const noexcept {
  Error error = far_error(os_errno, "write image to far memory", failed_);
  switch (os_errno) {
    case ENOSPC:
    case EDQUOT:
      error.code = Errc::system;
      error.remedy = "the pool is full: make room in it, or save to another";
      break;
    case ENOENT:
      error.remedy = "the pool was removed: save to another";
      break;
    case ESTALE:
      error.remedy = "its unfinished objects were removed meanwhile: save again";
      break;
    default:
      break;
  }
  return error;
}

// What cannot be removed is found with the sessions that are dead.
void FarSink::remove_all() noexcept {
  const std::uint64_t objects = object_;
  for (object_ = 0; object_ < objects; ++object_) {
    Buffer& buffer = buffers_[object_ % kBuffers];
    await(buffer);
    if (buffer.request.error == ESTALE || buffer.request.error == ETIMEDOUT) break;
    buffer.in_flight.store(1);
    buffer.request = {.action = sys::ObjectAction::remove,
                      .object = object_,
                      .done = &FarSink::answered,
                      .context = &buffer};
    store_->submit(buffer.request);
  }
  for (Buffer& buffer : buffers_) await(buffer);
}

std::string text_of(const FarLabel& label) {
  char text[80];
  std::snprintf(text, sizeof text, "%016llx%016llx %016llx%016llx",
                static_cast<unsigned long long>(label.id.high),
                static_cast<unsigned long long>(label.id.low),
                static_cast<unsigned long long>(label.base.high),
                static_cast<unsigned long long>(label.base.low));
  return text;
}

FarLabel label_in(const std::string& text) noexcept {
  unsigned long long words[4] = {};
  if (std::sscanf(text.c_str(), "%16llx%16llx %16llx%16llx", &words[0], &words[1], &words[2],
                  &words[3]) != 4) {
    return {};
  }
  return {.id = {words[1], words[0]}, .base = {words[3], words[2]}};
}

}  // namespace holdfast::image
