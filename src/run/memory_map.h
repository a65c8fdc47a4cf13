// Address spaces at one moment: which parts of them are in memory, which are out, and which have
// never been touched.
//
// A region is cut into cells of equal size, small enough that what a process has touched makes a
// few hundred of them. Long stretches that were never touched make one gap.
//
// Costs about 10 ns a page that there is, and holds a client's lock for a part of that. Task
// context; allocates. A process that goes meanwhile is left out.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "run/client.h"
#include "run/mappings.h"

namespace holdfast::run {

struct PageCounts {
  std::uint64_t resident = 0;
  std::uint64_t swapped = 0;  // out
  std::uint64_t filled = 0;   // out, of one repeated word: takes no room
  [[nodiscard]] std::uint64_t touched() const noexcept { return resident + swapped + filled; }
};

// A cell, or a gap of several.
struct MapCell {
  std::uint64_t gap = 0;  // cells that were never touched; 0: this is one cell
  PageCounts pages;
};

struct RegionMap {
  Mapping mapping;
  PageCounts pages;
  std::vector<MapCell> cells;
};

struct ProcessMap {
  int pid = 0;
  bool managed = false;  // it has a pager
  std::string command;   // with its arguments, shortened
  PageCounts pages;      // of all its regions
  std::uint64_t cell_bytes = 0;
  std::vector<RegionMap> regions;   // the largest, in address order
  std::uint64_t small_regions = 0;  // those that were left out, and what they have
  PageCounts small_pages;
};

struct MemoryMap {
  std::uint64_t time_ns = 0;  // since the run began
  std::uint64_t wanted_pages = 0;
  std::vector<ProcessMap> processes;  // the largest first
  std::uint64_t other_processes = 0;  // those that were left out
};

// `client`: of the process; null: it runs unmanaged.
[[nodiscard]] ProcessMap map_process(int pid, Client* client);

// Pages of the range that are in memory.
[[nodiscard]] std::uint64_t resident_in(int pid, Range range);

// --- for tests ---
struct PageSpan {
  enum class State : std::uint8_t { resident, swapped, filled };
  std::uint64_t first_page;
  std::uint64_t pages;
  State state;
};
// The same out of what is known: the mappings, and spans in any order.
[[nodiscard]] ProcessMap map_spans(const std::vector<Mapping>& mappings,
                                   std::vector<PageSpan> spans);

}  // namespace holdfast::run
