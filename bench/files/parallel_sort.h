// A parallel sort in place, by quicksort: the left part of each partition goes on in this thread,
// the right one in another, until there are enough of them; then each sorts its part.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>
#include <thread>

namespace holdfast::bench {

// The median of nine, spread over the range.
inline std::uint64_t pivot_of(std::span<const std::uint64_t> numbers) {
  std::uint64_t sample[9];
  for (std::size_t i = 0; i < std::size(sample); ++i) {
    sample[i] = numbers[(numbers.size() - 1) / (std::size(sample) - 1) * i];
  }
  std::ranges::sort(sample);
  return sample[std::size(sample) / 2];
}

// levels: 2^levels threads.
inline void parallel_sort(std::span<std::uint64_t> numbers, unsigned levels) {
  if (levels == 0 || numbers.size() < 4096) {
    std::sort(numbers.begin(), numbers.end());
    return;
  }
  const std::uint64_t pivot = pivot_of(numbers);
  const auto middle = std::partition(numbers.begin(), numbers.end(),
                                     [pivot](std::uint64_t number) { return number < pivot; });
  const auto left = static_cast<std::size_t>(middle - numbers.begin());
  std::thread right([&] { parallel_sort(numbers.subspan(left), levels - 1); });
  parallel_sort(numbers.first(left), levels - 1);
  right.join();
}

}  // namespace holdfast::bench
