#include "holdfast/region.h"

#include <utility>

namespace holdfast {
namespace {

std::unexpected<Error> no_region(const char* doing) noexcept {
  return fail({.code = Errc::not_mapped,
               .doing = doing,
               .what = "region",
               .remedy = "the region was unmapped or moved from: map one first"});
}

}  // namespace

Region& Region::operator=(Region&& other) noexcept {
  if (this != &other) {
    if (control_ != nullptr) (void)control_->unmap();
    control_ = std::exchange(other.control_, nullptr);
  }
  return *this;
}

// A destructor has nobody to report to. What could not be unmapped goes with its engine.
Region::~Region() {
  if (control_ != nullptr) (void)control_->unmap();
}

Expected<void> Region::resize(std::uint64_t bytes) {
  if (control_ == nullptr) return no_region("resize region");
  return control_->resize(bytes);
}

Expected<void> Region::advise(std::uint64_t offset, std::uint64_t bytes, Advice advice) {
  if (control_ == nullptr) return no_region("advise region");
  return control_->advise(offset, bytes, advice);
}

Expected<std::uint64_t> Region::prefetch(std::uint64_t offset, std::uint64_t bytes) {
  if (control_ == nullptr) return no_region("prefetch region");
  return control_->prefetch(offset, bytes);
}

Expected<void> Region::unmap() {
  if (control_ == nullptr) return no_region("unmap region");
  auto result = control_->unmap();
  if (result) control_ = nullptr;
  return result;
}

}  // namespace holdfast
