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

// A destructor has nobody to report to. What could not be unmapped goes with its engine.
void give_up(detail::RegionControl& control) noexcept {
  const auto result = control.unmap();
  if (!result && result.error().code == Errc::interrupt_context) (void)control.unmap_later();
}

}  // namespace

Region& Region::operator=(Region&& other) noexcept {
  if (this != &other) {
    if (control_ != nullptr) give_up(*control_);
    control_ = std::exchange(other.control_, nullptr);
  }
  return *this;
}

Region::~Region() {
  if (control_ != nullptr) give_up(*control_);
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

Expected<void> Region::unmap_later() noexcept {
  if (control_ == nullptr) return no_region("unmap region later");
  auto result = control_->unmap_later();
  if (result) control_ = nullptr;
  return result;
}

}  // namespace holdfast
