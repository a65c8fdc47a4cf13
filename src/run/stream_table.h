// Which faults belong to streams: a few sequential readers or writers are told apart, and each that
// goes on gets wider and wider runs. Owned by one pager thread.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>

namespace holdfast::run {

class StreamTable {
 public:
  // How many pages to bring in for a fault on `page`, up to `most`.
  [[nodiscard]] std::uint32_t width(std::uint64_t page, std::uint32_t most) noexcept {
    for (Stream& stream : streams_) {
      if (stream.next != page) continue;
      stream.width = std::min(stream.width * 2, most);
      stream.age = ++clock_;
      last_ = &stream;
      return stream.width;
    }
    last_ = &*std::ranges::min_element(streams_, {}, &Stream::age);
    *last_ = {.next = page + 1, .width = 1, .age = ++clock_};
    return 1;
  }
  // Whether the last one goes on for so long that what comes next is worth having ready.
  [[nodiscard]] bool goes_on() const noexcept { return last_ != nullptr && last_->width >= kWide; }
  // A fault that width() was asked for before is to be served now: reached() will be about it.
  void resume(std::uint64_t page) noexcept {
    last_ = nullptr;
    for (Stream& stream : streams_) {
      if (stream.next == page || stream.next == page + 1) last_ = &stream;
    }
  }
  // The run that the last width() was for reached this far: there it goes on.
  void reached(std::uint64_t next) noexcept {
    if (last_ != nullptr) last_->next = next;
  }

 private:
  static constexpr std::uint32_t kWide = 16;
  struct Stream {
    std::uint64_t next = ~std::uint64_t{0};
    std::uint32_t width = 1;
    std::uint64_t age = 0;
  };
  std::array<Stream, 8> streams_{};
  Stream* last_ = nullptr;
  std::uint64_t clock_ = 0;
};

}  // namespace holdfast::run
