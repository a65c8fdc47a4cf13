// Snapshots as what an image is written of: their regions in order, their runs as they tell them.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "holdfast/snapshot.h"
#include "image/image.h"

namespace holdfast::engine {

class SnapshotSource final : public image::RunSource {
 public:
  // All outlive the source. `since`: empty, or for each snapshot the one whose pages `base` holds.
  SnapshotSource(std::span<const Snapshot* const> snapshots, std::span<const Snapshot* const> since,
                 const image::Reader* base);

  [[nodiscard]] std::span<const std::uint64_t> regions() const override { return sizes_; }
  [[nodiscard]] Expected<void> for_each_run(image::RunVisitor& visitor) override;
  [[nodiscard]] Expected<void> read(std::uint64_t first, std::uint32_t pages,
                                    std::byte* to) override;

 private:
  [[nodiscard]] bool tell(image::RunVisitor& visitor, std::size_t region, const Run& run) const;

  const std::span<const Snapshot* const> snapshots_;
  const std::span<const Snapshot* const> since_;
  const image::Reader* const base_;
  std::vector<std::uint64_t> sizes_;   // bytes
  std::vector<std::uint64_t> firsts_;  // the first image page of each, and the end of all
};

}  // namespace holdfast::engine
