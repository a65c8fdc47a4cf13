// PageRef: one reference of a caller, as a type. Move-only; its destructor puts, in any context.
#pragma once

#include <utility>

#include "page/frame_pool.h"

namespace holdfast::page {

class PageRef {
 public:
  PageRef() noexcept = default;
  // Takes over a reference of kind caller that the maker already has.
  static PageRef adopt(FramePool& pool, Page& page) noexcept { return PageRef(&pool, &page); }
  PageRef(PageRef&& other) noexcept
      : pool_(std::exchange(other.pool_, nullptr)), page_(std::exchange(other.page_, nullptr)) {}
  PageRef& operator=(PageRef&& other) noexcept {
    if (this != &other) {
      reset();
      pool_ = std::exchange(other.pool_, nullptr);
      page_ = std::exchange(other.page_, nullptr);
    }
    return *this;
  }
  PageRef(const PageRef&) = delete;
  PageRef& operator=(const PageRef&) = delete;
  ~PageRef() { reset(); }

  [[nodiscard]] explicit operator bool() const noexcept { return page_ != nullptr; }
  [[nodiscard]] Page& operator*() const noexcept { return *page_; }
  [[nodiscard]] Page* operator->() const noexcept { return page_; }

  // Drops the reference. Any context.
  void reset() noexcept {
    if (page_ != nullptr) pool_->put(*page_, Holder::caller);
    page_ = nullptr;
  }

 private:
  PageRef(FramePool* pool, Page* page) noexcept : pool_(pool), page_(page) {}
  FramePool* pool_ = nullptr;
  Page* page_ = nullptr;
};

}  // namespace holdfast::page
