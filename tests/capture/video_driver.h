// A Video4Linux driver for tests: what videobuf2 does with buffers of its user's memory, with real
// transfers into real pages.
//
// A buffer number is bound to its memory when it is queued, and anew only if address or length have
// changed since (vb2's __prepare_userptr). Bound memory is registered with io_uring, which pins its
// pages as the driver would; a frame is a fixed-buffer read into them. So whoever lets such a page
// move in between loses the frame, as with a device.
#pragma once

#include <gtest/gtest.h>
#include <liburing.h>
#include <linux/videodev2.h>
#include <sys/mman.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>

#include "capture/real_capture.h"

namespace holdfast::capture::test {

struct DriverSettings {
  std::uint32_t capabilities = V4L2_CAP_VIDEO_CAPTURE | V4L2_CAP_STREAMING;
  std::uint32_t pixel_format = V4L2_PIX_FMT_YUYV;
  std::uint32_t width = 64, height = 48, bytes_per_line = 128;
  std::uint32_t size_image = kFrame;
  std::uint32_t buffers_most = 8;
  bool takes_user_memory = true;
};

class VideoDriver final : public sys::VideoDevice {
 public:
  using Settings = DriverSettings;

  explicit VideoDriver(const Settings& settings = {}) : settings_(settings) {
    ring_error_ = io_uring_queue_init(4, &ring_, 0);
    if (ring_error_ == 0) ring_error_ = io_uring_register_buffers_sparse(&ring_, kSlots);
    frames_ = Descriptor(::memfd_create("frames", MFD_CLOEXEC));
    thread_ = std::thread([this] { transfer(); });
  }
  ~VideoDriver() override {
    close();
    thread_.join();
    if (ring_error_ == 0) io_uring_queue_exit(&ring_);
  }
  VideoDriver(const VideoDriver&) = delete;
  VideoDriver& operator=(const VideoDriver&) = delete;

  // 0: io_uring can stand for a device here.
  [[nodiscard]] int ring_error() const { return ring_error_; }

  // --- what the scene in front of it does ---
  // So many frames come, as soon as there are buffers.
  void give(std::uint64_t frames) {
    change([&] { due_ += frames; });
  }
  // So many come while nobody takes them.
  void miss(std::uint32_t frames) {
    change([&] { sequence_ += frames; });
  }
  // The next one is not whole.
  void spoil_next() {
    change([&] { spoiled_ = true; });
  }
  // The next buffer that is queued is refused, before the driver looks at its memory.
  void refuse_next() {
    change([&] { refuses_ = true; });
  }
  void unplug() {
    change([&] { unplugged_ = true; });
  }
  [[nodiscard]] std::uint64_t transfers_after_close() const { return late_; }

  // --- sys::VideoDevice ---
  int control(unsigned long request, void* argument) noexcept override {
    std::unique_lock lock(mutex_);
    if (closed_) return EBADF;
    if (unplugged_) return ENODEV;
    switch (request) {
      case VIDIOC_QUERYCAP:
        static_cast<v4l2_capability*>(argument)->capabilities = settings_.capabilities;
        return 0;
      case VIDIOC_G_FMT:
        return get_format(*static_cast<v4l2_format*>(argument));
      case VIDIOC_G_PARM:
        static_cast<v4l2_streamparm*>(argument)->parm.capture.timeperframe = {1, 25};
        return 0;
      case VIDIOC_REQBUFS:
        return request_buffers(*static_cast<v4l2_requestbuffers*>(argument));
      case VIDIOC_QUERYBUF:
        return query(*static_cast<v4l2_buffer*>(argument));
      case VIDIOC_QBUF:
        return queue(*static_cast<v4l2_buffer*>(argument));
      case VIDIOC_DQBUF:
        return dequeue(*static_cast<v4l2_buffer*>(argument));
      case VIDIOC_STREAMON:
        streaming_ = true;
        changed_.notify_all();
        return 0;
      case VIDIOC_STREAMOFF:
        turn_off(lock);
        return 0;
      default:
        return ENOTTY;
    }
  }

  Ready wait(std::uint64_t timeout_ns) noexcept override {
    std::unique_lock lock(mutex_);
    const auto ready = [&] { return interrupted_ || unplugged_ || !done_.empty(); };
    if (timeout_ns == 0) {
      changed_.wait(lock, ready);
    } else {
      changed_.wait_for(lock, std::chrono::nanoseconds(timeout_ns), ready);
    }
    return interrupted_ ? Ready::interrupted : ready() ? Ready::look : Ready::timed_out;
  }
  void interrupt() noexcept override {
    change([&] { interrupted_ = true; });
  }
  void resume() noexcept override {
    change([&] { interrupted_ = false; });
  }
  void close() noexcept override {
    std::unique_lock lock(mutex_);
    turn_off(lock);
    closed_ = true;
    if (ring_error_ == 0) io_uring_unregister_buffers(&ring_);
    changed_.notify_all();
  }

 private:
  static constexpr std::uint32_t kSlots = VIDEO_MAX_FRAME;
  struct Slot {
    unsigned long address = 0;  // bound
    std::uint32_t length = 0;
    bool queued = false;
    std::uint32_t flags = 0;
    std::uint32_t sequence = 0;
    std::uint32_t bytes = 0;
  };

  void change(const std::function<void()>& what) {
    const std::lock_guard lock(mutex_);
    what();
    changed_.notify_all();
  }

  int get_format(v4l2_format& format) const {
    if (format.type != V4L2_BUF_TYPE_VIDEO_CAPTURE) return EINVAL;
    format.fmt.pix.width = settings_.width;
    format.fmt.pix.height = settings_.height;
    format.fmt.pix.pixelformat = settings_.pixel_format;
    format.fmt.pix.bytesperline = settings_.bytes_per_line;
    format.fmt.pix.sizeimage = settings_.size_image;
    return 0;
  }
  int request_buffers(v4l2_requestbuffers& request) {
    if (request.type != V4L2_BUF_TYPE_VIDEO_CAPTURE || streaming_) return EINVAL;
    if (request.memory != V4L2_MEMORY_USERPTR || !settings_.takes_user_memory) return EINVAL;
    request.count = std::min(request.count, settings_.buffers_most);
    count_ = request.count;
    return 0;
  }
  [[nodiscard]] bool is_valid(const v4l2_buffer& buffer) const {
    return buffer.type == V4L2_BUF_TYPE_VIDEO_CAPTURE && buffer.memory == V4L2_MEMORY_USERPTR &&
           buffer.index < count_;
  }
  int query(v4l2_buffer& buffer) const {
    if (!is_valid(buffer)) return EINVAL;
    buffer.flags = slots_[buffer.index].queued ? V4L2_BUF_FLAG_QUEUED : 0;
    return 0;
  }
  int queue(const v4l2_buffer& buffer) {
    if (!is_valid(buffer) || slots_[buffer.index].queued) return EINVAL;
    if (buffer.length < settings_.size_image) return EINVAL;
    if (std::exchange(refuses_, false)) return EIO;
    Slot& slot = slots_[buffer.index];
    if (slot.address != buffer.m.userptr || slot.length != buffer.length) {
      slot.address = 0;
      iovec memory{.iov_base = reinterpret_cast<void*>(buffer.m.userptr), .iov_len = buffer.length};
      if (io_uring_register_buffers_update_tag(&ring_, buffer.index, &memory, nullptr, 1) != 1) {
        return EFAULT;
      }
      slot.address = buffer.m.userptr;
      slot.length = buffer.length;
    }
    slot.queued = true;
    queued_.push_back(buffer.index);
    changed_.notify_all();
    return 0;
  }
  int dequeue(v4l2_buffer& buffer) {
    if (!streaming_) return EINVAL;
    if (done_.empty()) return EAGAIN;
    buffer.index = done_.front();
    done_.pop_front();
    Slot& slot = slots_[buffer.index];
    slot.queued = false;
    buffer.flags = slot.flags;
    buffer.sequence = slot.sequence;
    buffer.bytesused = slot.bytes;
    buffer.m.userptr = slot.address;
    buffer.length = slot.length;
    return 0;
  }
  // Waits for the transfer in flight, as stop_streaming has to, and lets go of all buffers.
  void turn_off(std::unique_lock<std::mutex>& lock) {
    streaming_ = false;
    changed_.wait(lock, [&] { return !in_flight_; });
    queued_.clear();
    done_.clear();
    sequence_ = 0;
    for (Slot& slot : slots_) slot.queued = false;
    changed_.notify_all();
  }

  // The device: one transfer after the other.
  void transfer() {
    std::unique_lock lock(mutex_);
    for (;;) {
      changed_.wait(lock, [&] {
        return closed_ || (streaming_ && !unplugged_ && due_ > 0 && !queued_.empty());
      });
      if (closed_) return;
      --due_;
      const std::uint32_t index = queued_.front();
      queued_.pop_front();
      Slot& slot = slots_[index];
      slot.sequence = sequence_++;
      slot.bytes = settings_.size_image;
      slot.flags = std::exchange(spoiled_, false) ? V4L2_BUF_FLAG_ERROR : 0;
      in_flight_ = true;
      const std::uint64_t number = slot.flags == 0 ? number_++ : ~std::uint64_t{0};
      lock.unlock();
      const bool landed = land(index, slot.address, number);
      lock.lock();
      in_flight_ = false;
      if (!landed) slot.flags = V4L2_BUF_FLAG_ERROR;
      if (closed_) ++late_;
      if (streaming_) done_.push_back(index);
      changed_.notify_all();
    }
  }
  bool land(std::uint32_t index, unsigned long address, std::uint64_t number) {
    const std::vector<std::byte> frame = make_frame(number);
    if (::pwrite(frames_, frame.data(), frame.size(), 0) != static_cast<ssize_t>(kFrame)) {
      return false;
    }
    io_uring_sqe* const read = io_uring_get_sqe(&ring_);
    io_uring_prep_read_fixed(read, frames_, reinterpret_cast<void*>(address), kFrame, 0,
                             static_cast<int>(index));
    io_uring_cqe* done = nullptr;
    if (io_uring_submit_and_wait(&ring_, 1) < 0 || io_uring_peek_cqe(&ring_, &done) != 0) {
      return false;
    }
    const int bytes = done->res;
    io_uring_cqe_seen(&ring_, done);
    return bytes == static_cast<int>(kFrame);
  }

  const Settings settings_;
  io_uring ring_{};
  int ring_error_ = 0;
  Descriptor frames_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::array<Slot, kSlots> slots_;
  std::deque<std::uint32_t> queued_;
  std::deque<std::uint32_t> done_;
  std::uint32_t count_ = 0;
  std::uint32_t sequence_ = 0;
  std::uint64_t number_ = 0;  // of the next whole frame
  std::uint64_t due_ = 0;
  std::uint64_t late_ = 0;
  bool streaming_ = false;
  bool in_flight_ = false;
  bool spoiled_ = false;
  bool refuses_ = false;
  bool unplugged_ = false;
  bool interrupted_ = false;
  bool closed_ = false;
  std::thread thread_;
};

}  // namespace holdfast::capture::test
