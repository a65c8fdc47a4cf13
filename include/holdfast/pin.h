// Pin: residency as a type. Move-only; its destructor unpins, in any context.
//
// While a Pin lives, every page of its range is resident and stays at its address in its frame:
// never evicted, moved or shared. That is what a buffer needs that is handed to a device or to
// asynchronous I/O, and what a storage engine needs around an access whose cost it wants to know.
//
// Who owns what: a Pin owns one reference and one pin on each page of its range, and the charge of
// its account. Pins nest and overlap freely: a page stays until the last of them has gone. A region
// that is unmapped under pins gives back the rest at once, and these pages with their last pin.
//
// Flow: 1. `auto pin = engine.pin(buffer, bytes)`; 2. hand the buffer to the device; 3. let go of
// the Pin wherever the transfer ends: in a completion, in a signal handler.
//
// Several buffers at once, all or none, in storage of the caller's own (nothing is allocated, so
// that a signal handler may let go of them):
//     std::array<holdfast::Pin, 2> pins;
//     const std::array<holdfast::Buffer, 2> buffers{{{head, 64}, {body, body_bytes}}};
//     if (auto pinned = holdfast::pin_all(engine, buffers, pins); !pinned) ...
#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>
#include <utility>

namespace holdfast {

// What will be done with a pinned range. A page that is shared copy-on-write is made the range's
// own before it is pinned for either; `write` also says that the content will change.
enum class Access : std::uint8_t { read, write };

// Some bytes of memory. Made of anything with the fields of an iovec.
struct Buffer {
  void* data = nullptr;
  std::size_t bytes = 0;

  constexpr Buffer() noexcept = default;
  constexpr Buffer(void* at, std::size_t length) noexcept : data(at), bytes(length) {}
  template <class Iovec>
    requires requires(const Iovec& vector) {
      vector.iov_base;
      vector.iov_len;
    }
  constexpr Buffer(const Iovec& vector) noexcept  // implicit: a span of iovecs is a list of buffers
      : data(vector.iov_base), bytes(vector.iov_len) {}
};

// Whom pins are charged to: see Engine::open_pin_account. `general`: nobody in particular, bounded
// by the engine's own limit alone, and free of the cost of counting.
enum class PinAccountId : std::uint16_t { general = 0 };

namespace detail {
// The pages that one Pin holds.
struct PinnedRange {
  std::uintptr_t first_page = 0;  // address of the first page
  std::uint64_t pages = 0;
  std::uintptr_t page = 0;  // of a single page: spares its unpin the way through the tables
  PinAccountId account = PinAccountId::general;
};

// What unpins; implemented by the engine. Any context, lock-free.
class PinOwner {
 public:
  virtual void unpin(const PinnedRange& range) noexcept = 0;

 protected:
  ~PinOwner() = default;
};
}  // namespace detail

class Pin {
 public:
  Pin() noexcept = default;
  Pin(detail::PinOwner* owner, const detail::PinnedRange& range) noexcept
      : owner_(owner), range_(range) {}
  Pin(Pin&& other) noexcept : owner_(std::exchange(other.owner_, nullptr)), range_(other.range_) {}
  Pin& operator=(Pin&& other) noexcept {
    if (this != &other) {
      reset();
      owner_ = std::exchange(other.owner_, nullptr);
      range_ = other.range_;
    }
    return *this;
  }
  Pin(const Pin&) = delete;
  Pin& operator=(const Pin&) = delete;
  ~Pin() { reset(); }

  // Unpins now. Any context; more than once is harmless.
  void reset() noexcept {
    if (owner_ != nullptr) std::exchange(owner_, nullptr)->unpin(range_);
  }
  [[nodiscard]] explicit operator bool() const noexcept { return owner_ != nullptr; }
  [[nodiscard]] std::uint64_t pages() const noexcept { return owner_ ? range_.pages : 0; }

 private:
  detail::PinOwner* owner_ = nullptr;
  detail::PinnedRange range_;
};
static_assert(std::is_nothrow_move_constructible_v<Pin> && std::is_nothrow_move_assignable_v<Pin>);
static_assert(std::is_nothrow_destructible_v<Pin> && !std::is_copy_constructible_v<Pin>);

}  // namespace holdfast
