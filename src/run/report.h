// What happened in a run, for people and for programs: the facts, and three ways to tell them.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "run/history.h"
#include "run/memory_map.h"
#include "swap/swap.h"

namespace holdfast::run {

struct Report {
  std::vector<std::string> command;
  std::string outcome;       // "exit status 0", "killed by signal 9"
  std::int64_t started = 0;  // seconds since 1970
  std::uint64_t elapsed_ns = 0;
  std::uint64_t budget_bytes = 0;
  std::uint64_t peak_resident_pages = 0;
  std::uint64_t peak_wanted_pages = 0;  // in memory and evicted
  std::uint64_t overshoot_pages = 0;
  std::uint64_t stalled_ns = 0;  // some process waited for the pager
  std::uint64_t waited_ns = 0;   // of that for room: by all faults, added up
  std::uint64_t faults = 0;
  std::uint64_t fresh_pages = 0;
  std::uint64_t pages_in = 0;
  bool replays = false;
  std::uint64_t ahead_pages = 0;     // of those that came in: before anybody touched them
  std::uint64_t ahead_passed = 0;    // of which the program came past without a fault
  std::uint64_t recorded_pages = 0;  // 0: nothing to record, or not asked for
  std::uint64_t read_ahead = 0;      // that were loaded for a stream before it came to them
  std::uint64_t pages_out = 0;
  std::uint64_t rescued = 0;
  std::uint64_t clean = 0;
  std::uint64_t filled = 0;
  std::uint64_t stored = 0;
  std::uint64_t returned = 0;
  std::uint64_t busy = 0;
  std::uint64_t spaces = 0;
  std::uint64_t forks = 0;
  // When the most was in swap: so many pages, and so many bytes of images.
  std::uint64_t stored_pages_peak = 0;
  std::uint64_t image_bytes_peak = 0;
  std::vector<swap::TierStats> tiers;
  std::vector<Sample> samples;
  std::vector<MemoryMap> maps;  // oldest first
};

// What stands on the terminal at the end: a few lines.
[[nodiscard]] std::string summary_text(const Report& report);
// One object.
[[nodiscard]] std::string report_json(const Report& report);
// One page that needs nothing else: no network, no other file.
[[nodiscard]] std::string report_html(const Report& report);

// A page if the name ends in .html or .htm, else JSON.
[[nodiscard]] std::string report_for(const std::string& path, const Report& report);

}  // namespace holdfast::run
