// The engine's counters: one for every reason something happened or was refused.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace holdfast {

struct SwapTierStats {
  std::string kind;               // "ram", "file" or "rados"
  std::uint64_t pages = 0;        // pages whose only copy, or clean copy, is here
  std::uint64_t image_bytes = 0;  // sum of their (compressed) images
  std::uint64_t held_bytes = 0;   // what the tier takes of memory or of the file
  std::uint64_t limit_bytes = 0;
  std::uint64_t stores = 0, loads = 0, frees = 0;
  std::uint64_t written_bytes = 0, read_bytes = 0;
  std::uint64_t refused_full = 0, write_errors = 0, read_errors = 0, places_retired = 0;
  std::uint64_t compactions = 0, moved = 0;
};

// An account of pins (Engine::open_pin_account), in pages.
struct PinAccountStats {
  std::string name;
  std::uint64_t pages = 0;  // a page that it pins twice counts twice
  std::uint64_t limit = 0;
  std::uint64_t refused = 0;  // pins that would have broken the limit
};

struct Stats {
  // --- where pages are now, in pages ---
  std::uint64_t frames_total = 0, frames_free = 0, frames_charged = 0, frames_warm = 0;
  std::uint64_t pages_resident = 0, pages_cached = 0;
  std::uint64_t pins = 0;  // pages pinned now, each once
  std::vector<PinAccountStats> pin_accounts;
  // --- faults ---
  std::uint64_t faults = 0;              // faults taken, by signal or by thread
  std::uint64_t faults_zero = 0;         // pages made: first touch
  std::uint64_t faults_source = 0;       // pages that came from a memory image
  std::uint64_t faults_swap = 0;         // pages brought back from a slot
  std::uint64_t faults_same_filled = 0;  // pages made again from a tag
  std::uint64_t faults_rescued = 0;      // pages rescued from the swap cache
  std::uint64_t faults_spurious = 0;     // somebody else had served it
  std::uint64_t faults_waited = 0;       // found the entry busy and waited
  std::uint64_t faults_refused = 0;      // errors in plain loads and stores
  std::uint64_t runs = 0;                // faults that were served as a run of more than one page
  std::uint64_t run_pages = 0;           // pages brought in ahead by them
  std::uint64_t runs_moved = 0;          // runs that came in by UFFDIO_MOVE
  // --- copy on write ---
  std::uint64_t cow_faults = 0;   // write faults at shared or write-protected pages
  std::uint64_t cow_copied = 0;   // pages copied for those who share them
  std::uint64_t cow_lifted = 0;   // pages that only had to be made writable
  std::uint64_t cow_settled = 0;  // leaves (2 MiB) whose sharing was written down, page by page
  // --- reclaim ---
  std::uint64_t windows_unmapped = 0, pages_unmapped = 0;
  std::uint64_t evicted_clean = 0;  // dropped because the slot still held the same content
  std::uint64_t evicted_same_filled = 0;
  std::uint64_t evicted_written = 0;                         // stored in a slot
  std::uint64_t orphans_freed = 0;                           // pages of regions that were gone
  std::uint64_t reclaim_direct = 0, reclaim_background = 0;  // passes
  std::uint64_t skipped_pinned = 0, skipped_busy = 0, skipped_rescued = 0, skipped_recent = 0;
  std::uint64_t write_out_failed = 0;
  // --- mapped files ---
  std::uint64_t background_written = 0;  // pages that went to their file without being asked to
  std::uint64_t background_failed = 0;   // attempts at that, of up to 64 pages, that failed
  // --- refusals ---
  std::uint64_t refused_interrupt = 0, refused_pins = 0, refused_memory = 0, refused_budget = 0,
                refused_write = 0;
  // --- swap ---
  std::vector<SwapTierStats> tiers;
  std::uint64_t slots_used = 0, hash_mismatches = 0, written_back = 0, incompressible = 0;
  std::uint64_t compressed_bytes = 0;
  // --- memory, bytes ---
  std::uint64_t budget_bytes = 0, metadata_bytes = 0;
  std::uint64_t managed_bytes = 0;  // sum of mapped regions
  std::uint64_t overhead_bytes =
      0;  // the stated overhead beside the budget: staging, slots, stacks, code

  // The report as text, a line per group. Allocates.
  [[nodiscard]] std::string to_string() const;
};

}  // namespace holdfast
