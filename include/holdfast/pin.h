// Pin: residency as a type. Move-only; its destructor unpins, in any context.
//
// While a Pin lives, every page of its range is resident and stays at its address in its frame:
// never evicted, moved or shared. That is what a buffer needs that is handed to a device or to
// asynchronous I/O, and what a storage engine needs around an access whose cost it wants to know.
#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>

namespace holdfast {

namespace detail {
// What unpins; implemented by the engine. Any context, lock-free.
class PinOwner {
 public:
  // page: what stands for the pinned page, if it is one; 0: find the pages by their address.
  virtual void unpin(std::uintptr_t first_page_address, std::uint64_t pages,
                     std::uintptr_t page) noexcept = 0;

 protected:
  ~PinOwner() = default;
};
}  // namespace detail

class Pin {
 public:
  Pin() noexcept = default;
  Pin(detail::PinOwner* owner, std::uintptr_t first_page, std::uint64_t pages,
      std::uintptr_t page) noexcept
      : owner_(owner), first_page_(first_page), pages_(pages), page_(page) {}
  Pin(Pin&& other) noexcept
      : owner_(std::exchange(other.owner_, nullptr)),
        first_page_(other.first_page_),
        pages_(other.pages_),
        page_(other.page_) {}
  Pin& operator=(Pin&& other) noexcept {
    if (this != &other) {
      reset();
      owner_ = std::exchange(other.owner_, nullptr);
      first_page_ = other.first_page_;
      pages_ = other.pages_;
      page_ = other.page_;
    }
    return *this;
  }
  Pin(const Pin&) = delete;
  Pin& operator=(const Pin&) = delete;
  ~Pin() { reset(); }

  // Unpins now. Any context; more than once is harmless.
  void reset() noexcept {
    if (owner_ != nullptr) std::exchange(owner_, nullptr)->unpin(first_page_, pages_, page_);
  }
  [[nodiscard]] explicit operator bool() const noexcept { return owner_ != nullptr; }
  [[nodiscard]] std::uint64_t pages() const noexcept { return owner_ ? pages_ : 0; }

 private:
  detail::PinOwner* owner_ = nullptr;
  std::uintptr_t first_page_ = 0;
  std::uint64_t pages_ = 0;
  std::uintptr_t page_ = 0;  // of a pin of one page: spares its unpin the way through the tables
};

}  // namespace holdfast
