// Text: puts words and numbers together in a caller's buffer, for lines that are made where nothing
// may allocate (a failing check, an error in a fault handler). Cuts what does not fit; the buffer
// is always terminated.
//
// Context: any; async-signal-safe.
#pragma once

#include <cstddef>
#include <cstdint>

namespace holdfast::base {

class Text {
 public:
  // size: bytes at `buffer`, at least 1.
  Text(char* buffer, std::size_t size) noexcept : buffer_(buffer), size_(size) {
    buffer_[0] = '\0';
  }

  Text& add(const char* words) noexcept {
    while (*words != '\0' && length_ + 1 < size_) buffer_[length_++] = *words++;
    buffer_[length_] = '\0';
    return *this;
  }
  Text& add(std::uint64_t number) noexcept { return add_digits(number, 10); }
  Text& add_hex(std::uint64_t number) noexcept { return add("0x").add_digits(number, 16); }

  [[nodiscard]] std::size_t length() const noexcept { return length_; }

 private:
  Text& add_digits(std::uint64_t number, unsigned radix) noexcept {
    char digits[21];  // 2^64 has 20 decimal digits
    char* first = digits + sizeof digits - 1;
    *first = '\0';
    do {
      *--first = "0123456789abcdef"[number % radix];
      number /= radix;
    } while (number != 0);
    return add(first);
  }

  char* buffer_;
  std::size_t size_;
  std::size_t length_ = 0;  // < size_
};

}  // namespace holdfast::base
