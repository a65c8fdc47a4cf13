// What a public Snapshot stands for: guards its calls and passes them to the address space. Made by
// Engine::snapshot, deletes itself when it is dropped.
//
// Whatever is the caller's, his buffer and his function, is touched outside of the engine: it may
// lie in managed memory, or call the engine again.
#pragma once

#include "engine/paging_engine.h"
#include "holdfast/snapshot.h"

namespace holdfast::engine {

class SnapshotHandle final : public detail::SnapshotControl {
 public:
  SnapshotHandle(PagingEngine& engine, space::RegionRecord& record) noexcept
      : engine_(engine), record_(record), base_(record.base) {}

  Expected<void> read(std::uint64_t offset, std::span<std::byte> to) override;
  Expected<void> visit(const SnapshotControl* since, bool compare, Visit tell,
                       void* context) override;
  Expected<void> drop() override;
  [[nodiscard]] const std::byte* base() const noexcept override {
    return reinterpret_cast<const std::byte*>(base_);
  }
  [[nodiscard]] std::uint64_t size() const noexcept override {
    return record_.page_count() << kPageShift;
  }
  [[nodiscard]] const void* engine() const noexcept override { return &engine_; }
  [[nodiscard]] space::RegionRecord& record() noexcept { return record_; }

 private:
  PagingEngine& engine_;
  space::RegionRecord& record_;
  const Address base_;
};

}  // namespace holdfast::engine
