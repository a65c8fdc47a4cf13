// The hash table: keys and values as chains of entries in the heap.
//
// It grows by doubling, a bucket at a time with each change, so that no request pays for all of
// it: buckets below `moved` of the old array are spread over the new one already, the others are
// still in the old one, and every key is in exactly one place.
//
// What may fail (no memory) returns an Error, and nothing has changed then. Views of values point
// into managed memory: copy them before the next change, and never hand them to a system call.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string_view>

#include "heap.h"

namespace kv {

// The part of the table that lies in the region.
struct TableState {
  std::uint64_t seed;   // of the hash: differs from one new table to the next
  std::uint64_t count;  // keys
  Offset buckets;       // array of `size` offsets of entries
  std::uint64_t size;   // a power of two
  Offset larger;        // while it grows: the array of 2 * size; else 0
  std::uint64_t moved;  // while it grows: buckets of the old array that are in the new one
};

// One key with its value: the key's bytes and then the value's follow it in the same block.
struct Entry {
  Offset next;
  std::uint32_t hash;
  std::uint32_t key_bytes;
  std::uint32_t value_bytes;
  std::uint32_t room;  // bytes for key and value together

  [[nodiscard]] std::string_view key() const { return {bytes(), key_bytes}; }
  [[nodiscard]] std::string_view value() const { return {bytes() + key_bytes, value_bytes}; }
  [[nodiscard]] const char* bytes() const { return reinterpret_cast<const char*>(this + 1); }
};

class Table {
 public:
  using Visitor = std::function<void(const Entry&)>;

  Table(Heap& heap, TableState& state) : heap_(heap), state_(state) {}

  // A new, empty table.
  [[nodiscard]] holdfast::Expected<void> format(std::uint64_t seed);

  [[nodiscard]] std::uint64_t count() const { return state_.count; }
  [[nodiscard]] std::optional<std::string_view> get(std::string_view key) const;

  [[nodiscard]] holdfast::Expected<void> set(std::string_view key, std::string_view value);
  // Appends to the value, which may be missing; the new length.
  [[nodiscard]] holdfast::Expected<std::uint64_t> append(std::string_view key,
                                                         std::string_view bytes);
  // True if it was there.
  bool erase(std::string_view key);

  // For several keys at once or none: prepare each (which may fail), then commit or discard each
  // (which cannot).
  [[nodiscard]] holdfast::Expected<Offset> prepare(std::string_view key, std::string_view value);
  void commit(Offset prepared);
  void discard(Offset prepared);

  void for_each(const Visitor& visit) const;
  // Visits the keys of one bucket; the next cursor, 0 at the end. A key that is there from the
  // first call to the last is visited at least once, however the table grows meanwhile.
  std::uint64_t scan(std::uint64_t cursor, const Visitor& visit) const;

 private:
  [[nodiscard]] std::uint32_t hash_of(std::string_view key) const;
  // The bucket that a hash belongs to now.
  [[nodiscard]] Offset& bucket(std::uint32_t hash) const;
  // What refers to the entry of this key: a bucket, or the entry before it. Refers to 0 if there is
  // none.
  [[nodiscard]] Offset& link_to(std::string_view key, std::uint32_t hash) const;
  [[nodiscard]] holdfast::Expected<Offset> make(std::string_view key, std::string_view value,
                                                std::string_view more, std::uint64_t room);
  [[nodiscard]] holdfast::Expected<bool> overwrite(Offset at, std::string_view value);
  void unlink(Offset& link);
  void visit_chain(Offset first, const Visitor& visit) const;
  void grow();
  void move_bucket();

  Heap& heap_;
  TableState& state_;
};

}  // namespace kv
