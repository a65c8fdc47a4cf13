#include "kv/dataset.h"

#include <fmt/format.h>

#include <iterator>

#include "workload.h"

namespace holdfast::bench {
namespace {
constexpr std::uint64_t kPages = 4096;  // 16 MiB of different values
}

Dataset::Dataset(std::uint64_t keys, std::uint64_t value_bytes)
    : keys_(keys),
      value_bytes_(value_bytes),
      content_(kPages * kPageBytes / sizeof(std::uint64_t)),
      values_(kPages * kPageBytes / value_bytes) {
  Workload(reinterpret_cast<std::byte*>(content_.data()), 0, kPages, 0).fill();
}

void Dataset::append_bulk(std::string& request, std::string_view bytes) {
  fmt::format_to(std::back_inserter(request), "${}\r\n", bytes.size());
  request.append(bytes).append("\r\n");
}

void Dataset::append_pair(std::string& request, std::uint64_t key, std::uint64_t version) const {
  char name[kKeyBytes + 1];
  fmt::format_to_n(name, sizeof name, "key:{:012}", key);
  append_bulk(request, std::string_view(name, kKeyBytes));
  const std::uint64_t value = (key + version * 7919) % values_;
  const char* const content = reinterpret_cast<const char*>(content_.data());
  append_bulk(request, std::string_view(content + value * value_bytes_, value_bytes_));
}

void Dataset::append_set(std::string& request, std::uint64_t key, std::uint64_t version) const {
  request += "*3\r\n$3\r\nSET\r\n";
  append_pair(request, key, version);
}

void Dataset::append_mset(std::string& request, std::uint64_t first, std::uint64_t count) const {
  fmt::format_to(std::back_inserter(request), "*{}\r\n$4\r\nMSET\r\n", 1 + 2 * count);
  for (std::uint64_t key = first; key < first + count; ++key) append_pair(request, key, 0);
}

}  // namespace holdfast::bench
