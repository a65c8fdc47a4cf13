// What a public Region stands for: guards its calls and passes them to the address space. Made by
// map_anonymous, deletes itself when it is unmapped.
#pragma once

#include "engine/paging_engine.h"
#include "holdfast/region.h"

namespace holdfast::engine {

class RegionHandle final : public detail::RegionControl {
 public:
  RegionHandle(PagingEngine& engine, space::RegionRecord& record) noexcept
      : engine_(engine), record_(record), base_(record.base) {}

  Expected<void> resize(std::uint64_t bytes) override;
  Expected<void> advise(std::uint64_t offset, std::uint64_t bytes, Advice advice) override;
  Expected<std::uint64_t> prefetch(std::uint64_t offset, std::uint64_t bytes) override;
  Expected<bool> begin_ready(detail::ReadyRequest& request) override;
  Expected<void> unmap() override;
  Expected<void> unmap_later() noexcept override;
  [[nodiscard]] std::byte* base() const noexcept override {
    return reinterpret_cast<std::byte*>(base_);
  }
  [[nodiscard]] std::uint64_t size() const noexcept override {
    return record_.page_count() << kPageShift;
  }
  [[nodiscard]] const void* engine() const noexcept override { return &engine_; }
  [[nodiscard]] space::RegionRecord& record() noexcept { return record_; }

 private:
  Expected<void> check_range(const char* doing, std::uint64_t offset, std::uint64_t bytes) const;

  PagingEngine& engine_;
  space::RegionRecord& record_;
  const Address base_;
};

}  // namespace holdfast::engine
