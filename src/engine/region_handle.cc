#include "engine/region_handle.h"

namespace holdfast::engine {

Expected<void> RegionHandle::check_range(const char* doing, std::uint64_t offset,
                                         std::uint64_t bytes) const {
  const std::uint64_t all = size();
  if (bytes > 0 && offset < all && bytes <= all - offset) return {};
  return fail({.code = Errc::invalid_argument,
               .doing = doing,
               .what = "end of the range, as an offset in the region",
               .value = offset + bytes,
               .limit = all,
               .remedy = "give a range of at least 1 byte inside the region"});
}

Expected<void> RegionHandle::resize(std::uint64_t bytes) {
  if (sync::in_interrupt()) return fail(engine_.refused_in_interrupt("resize region"));
  const sync::EngineScope scope;
  return engine_.space().resize(record_, pages_for(bytes));
}

Expected<void> RegionHandle::advise(std::uint64_t offset, std::uint64_t bytes, Advice advice) {
  if (sync::in_interrupt()) return fail(engine_.refused_in_interrupt("advise region"));
  TRY_VOID(check_range("advise region", offset, bytes));
  const sync::EngineScope scope;
  return engine_.space().advise(record_, offset, bytes, advice);
}

Expected<std::uint64_t> RegionHandle::prefetch(std::uint64_t offset, std::uint64_t bytes) {
  if (sync::in_interrupt()) return fail(engine_.refused_in_interrupt("prefetch region"));
  TRY_VOID(check_range("prefetch region", offset, bytes));
  const sync::EngineScope scope;
  return engine_.space().prefetch(record_, offset, bytes);
}

Expected<bool> RegionHandle::begin_ready(detail::ReadyRequest& request) {
  if (sync::in_interrupt()) return fail(engine_.refused_in_interrupt("wait for pages"));
  TRY_VOID(check_range("wait for pages", request.offset, request.bytes));
  const sync::EngineScope scope;
  return engine_.ready().wait(request, record_, request.offset);
}

Expected<void> RegionHandle::unmap() {
  if (sync::in_interrupt()) return fail(engine_.refused_in_interrupt("unmap region"));
  {
    const sync::EngineScope scope;
    engine_.ready().leave(record_);
    const bool of_file = record_.moment != nullptr;  // a clone
    TRY_VOID(engine_.space().unmap(record_));
    if (of_file) engine_.files().close_unused(engine_);
  }
  delete this;
  return {};
}

// The queue owns the handle from here on, and runs in task context.
Expected<void> RegionHandle::unmap_later() noexcept {
  const auto unmap_now = [](void* self) noexcept {
    const auto unmapped = static_cast<RegionHandle*>(self)->unmap();
    HF_CHECK(unmapped.has_value());  // it is whole, and nobody else has it
  };
  if (engine_.defer(unmap_now, this)) return {};
  return fail({.code = Errc::would_block,
               .doing = "unmap region later",
               .what = "deferred calls that wait",
               .value = sync::DeferQueue::kCapacity,
               .limit = sync::DeferQueue::kCapacity,
               .remedy = "try again when some have run; the region is as it was"});
}

}  // namespace holdfast::engine
