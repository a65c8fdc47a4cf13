// All data of the server: one region, with the heap and the table in it.
#pragma once

#include <cstdint>
#include <memory>

#include "heap.h"
#include "holdfast/holdfast.h"
#include "table.h"

namespace kv {

class Database {
 public:
  // An empty one. capacity: bytes that keys, values and table may take, resident or not.
  [[nodiscard]] static holdfast::Expected<std::unique_ptr<Database>> create(
      holdfast::Engine& engine, std::uint64_t capacity);
  // What a region holds already. Errors: corrupted (it is no data of this program, or of another
  // version of it).
  [[nodiscard]] static holdfast::Expected<std::unique_ptr<Database>> open(holdfast::Engine& engine,
                                                                          holdfast::Region region);

  [[nodiscard]] Table& table() { return table_; }
  [[nodiscard]] const Heap& heap() const { return heap_; }
  [[nodiscard]] const holdfast::Region& region() const { return region_; }

  // Deletes everything, and gives its memory back. Errors: busy (pages are pinned; nothing was
  // deleted), out_of_memory.
  [[nodiscard]] holdfast::Expected<void> clear();

 private:
  // What stands at the start of the region.
  struct Root {
    std::uint64_t magic;
    std::uint64_t version;
    HeapState heap;
    TableState table;
  };

  Database(holdfast::Engine& engine, holdfast::Region region);
  [[nodiscard]] holdfast::Expected<void> format();

  holdfast::Region region_;
  Root& root_;
  Heap heap_;
  Table table_;
};

}  // namespace kv
