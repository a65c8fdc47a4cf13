// The keys and values of the key-value comparisons: the same for both servers.
//
// Values are pieces of pages with the content of the paging comparisons (workload.h): a quarter
// random, numbers, times, text. Keys look like those of redis-benchmark: "key:000000012345".
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace holdfast::bench {

class Dataset {
 public:
  Dataset(std::uint64_t keys, std::uint64_t value_bytes);

  [[nodiscard]] std::uint64_t keys() const { return keys_; }
  // Of all keys and values.
  [[nodiscard]] std::uint64_t bytes() const { return keys_ * (kKeyBytes + value_bytes_); }

  // Appends "SET key value" in the protocol of Redis: the key's value for one `version`.
  void append_set(std::string& request, std::uint64_t key, std::uint64_t version) const;
  // Appends an MSET of [first, first + count), in their first version.
  void append_mset(std::string& request, std::uint64_t first, std::uint64_t count) const;

 private:
  static constexpr std::uint64_t kKeyBytes = 16;
  static void append_bulk(std::string& request, std::string_view bytes);
  void append_pair(std::string& request, std::uint64_t key, std::uint64_t version) const;

  std::uint64_t keys_;
  std::uint64_t value_bytes_;
  std::vector<std::uint64_t> content_;  // values, one behind the other
  std::uint64_t values_;                // how many
};

}  // namespace holdfast::bench
