// Disjoint ranges of addresses, each with a value: what is reserved, what is registered. Few at a
// time (regions, a pool), so a sorted array and a memory of the last hit.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "base/base.h"

namespace holdfast::sys {

template <class Value>
class SimRanges {
 public:
  struct Range {
    Address begin = 0;
    Address end = 0;
    Value value{};
  };

  // The range that holds the address; null: none does. Valid until the next change.
  [[nodiscard]] const Range* find(Address address) const noexcept {
    if (last_ < ranges_.size() && holds(ranges_[last_], address)) return &ranges_[last_];
    const auto after = first_after(address);
    if (after == ranges_.begin()) return nullptr;
    const Range& range = *(after - 1);
    if (!holds(range, address)) return nullptr;
    last_ = static_cast<std::size_t>(after - 1 - ranges_.begin());
    return &range;
  }
  // True if some range meets [begin, end).
  [[nodiscard]] bool meets(Address begin, Address end) const noexcept {
    const auto after = first_after(begin);
    return (after != ranges_.end() && after->begin < end) ||
           (after != ranges_.begin() && (after - 1)->end > begin);
  }
  // True if one range holds all of [begin, end).
  [[nodiscard]] bool holds_all(Address begin, Address end) const noexcept {
    const Range* range = find(begin);
    return range != nullptr && end <= range->end;
  }
  // [begin, end) must meet no range.
  void add(Address begin, Address end, Value value) {
    HF_CHECK2(begin < end && !meets(begin, end), begin, end);
    ranges_.insert(first_after(begin), Range{begin, end, value});
  }
  // Cuts [begin, end) out of whatever it meets.
  void cut(Address begin, Address end) {
    std::vector<Range> kept;
    for (const Range& r : ranges_) {
      if (r.end <= begin || r.begin >= end) {
        kept.push_back(r);
        continue;
      }
      if (r.begin < begin) kept.push_back({r.begin, begin, r.value});
      if (r.end > end) kept.push_back({end, r.end, r.value});
    }
    ranges_ = std::move(kept);
  }
  [[nodiscard]] const std::vector<Range>& all() const noexcept { return ranges_; }

 private:
  static bool holds(const Range& range, Address address) noexcept {
    return range.begin <= address && address < range.end;
  }
  [[nodiscard]] auto first_after(Address address) const noexcept {
    return std::upper_bound(ranges_.begin(), ranges_.end(), address,
                            [](Address a, const Range& r) { return a < r.begin; });
  }

  std::vector<Range> ranges_;
  mutable std::size_t last_ = 0;  // index of the last hit; a hint
};

}  // namespace holdfast::sys
