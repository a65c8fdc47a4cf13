// Stats as text: a line per group, labels aligned, counts as counts and bytes as MiB.
#include <cinttypes>
#include <cstdarg>
#include <cstdio>

#include "base/base.h"
#include "holdfast/stats.h"

namespace holdfast {
namespace {

constexpr double kMiB = 1024.0 * 1024.0;

double mib(std::uint64_t bytes) noexcept { return static_cast<double>(bytes) / kMiB; }

// Collects lines of the form "label     text".
class Report {
 public:
  __attribute__((format(printf, 3, 4))) void line(const char* label, const char* format, ...) {
    char buffer[512];
    int length = std::snprintf(buffer, sizeof buffer, "%-14s", label);
    va_list arguments;
    va_start(arguments, format);
    length += std::vsnprintf(buffer + length, sizeof buffer - static_cast<std::size_t>(length),
                             format, arguments);
    va_end(arguments);
    HF_DCHECK(length > 0);
    text_ += buffer;
    text_ += '\n';
  }
  [[nodiscard]] std::string take() { return std::move(text_); }

 private:
  std::string text_;
};

void add_pages(Report& report, const Stats& s) {
  report.line("frames",
              "%" PRIu64 " total, %" PRIu64 " charged, %" PRIu64 " free, %" PRIu64 " warm",
              s.frames_total, s.frames_charged, s.frames_free, s.frames_warm);
  report.line("pages", "%" PRIu64 " resident, %" PRIu64 " cached, %" PRIu64 " pinned",
              s.pages_resident, s.pages_cached, s.pins);
  for (const PinAccountStats& account : s.pin_accounts) {
    report.line("pins", "%s: %" PRIu64 " of %" PRIu64 " pages, %" PRIu64 " refused",
                account.name.c_str(), account.pages, account.limit, account.refused);
  }
}

void add_faults(Report& report, const Stats& s) {
  report.line("faults",
              "%" PRIu64 ": %" PRIu64 " zero, %" PRIu64 " image, %" PRIu64 " swap, %" PRIu64
              " same-filled, %" PRIu64 " rescued, %" PRIu64 " spurious, %" PRIu64
              " waited, %" PRIu64 " refused",
              s.faults, s.faults_zero, s.faults_source, s.faults_swap, s.faults_same_filled,
              s.faults_rescued, s.faults_spurious, s.faults_waited, s.faults_refused);
  report.line("runs", "%" PRIu64 ", %" PRIu64 " pages ahead, %" PRIu64 " by UFFDIO_MOVE", s.runs,
              s.run_pages, s.runs_moved);
}

void add_reclaim(Report& report, const Stats& s) {
  report.line("reclaim", "%" PRIu64 " background, %" PRIu64 " direct passes", s.reclaim_background,
              s.reclaim_direct);
  report.line("unmapped", "%" PRIu64 " windows, %" PRIu64 " pages", s.windows_unmapped,
              s.pages_unmapped);
  report.line("evicted",
              "%" PRIu64 " clean, %" PRIu64 " same-filled, %" PRIu64 " written, %" PRIu64
              " orphans, %" PRIu64 " write-outs failed",
              s.evicted_clean, s.evicted_same_filled, s.evicted_written, s.orphans_freed,
              s.write_out_failed);
  report.line("skipped",
              "%" PRIu64 " pinned, %" PRIu64 " busy, %" PRIu64 " rescued, %" PRIu64 " recent",
              s.skipped_pinned, s.skipped_busy, s.skipped_rescued, s.skipped_recent);
  report.line("mapped files", "%" PRIu64 " pages written in the background, %" PRIu64 " failures",
              s.background_written, s.background_failed);
  report.line("copy on write",
              "%" PRIu64 " faults, %" PRIu64 " copied, %" PRIu64 " lifted, %" PRIu64
              " leaves settled",
              s.cow_faults, s.cow_copied, s.cow_lifted, s.cow_settled);
  report.line("refused",
              "%" PRIu64 " interrupt, %" PRIu64 " pins, %" PRIu64 " memory, %" PRIu64
              " budget, %" PRIu64 " stores to snapshots",
              s.refused_interrupt, s.refused_pins, s.refused_memory, s.refused_budget,
              s.refused_write);
}

void add_tier(Report& report, const SwapTierStats& t, std::size_t number) {
  char label[24];
  std::snprintf(label, sizeof label, "tier %zu %s", number, t.kind.c_str());
  const double ratio = t.image_bytes == 0 ? 1.0
                                          : static_cast<double>(t.pages * kPageSize) /
                                                static_cast<double>(t.image_bytes);
  report.line(label, "%" PRIu64 " pages as %.1f MiB (ratio %.2f), holds %.1f MiB, limit %.1f MiB",
              t.pages, mib(t.image_bytes), ratio, mib(t.held_bytes), mib(t.limit_bytes));
  report.line("",
              "%" PRIu64 " stores, %" PRIu64 " loads, %" PRIu64
              " frees, %.1f MiB written, %.1f MiB read",
              t.stores, t.loads, t.frees, mib(t.written_bytes), mib(t.read_bytes));
  report.line("",
              "%" PRIu64 " refused full, %" PRIu64 " write errors, %" PRIu64
              " read errors, %" PRIu64 " retired, %" PRIu64 " compactions, %" PRIu64 " moved",
              t.refused_full, t.write_errors, t.read_errors, t.places_retired, t.compactions,
              t.moved);
}

void add_swap(Report& report, const Stats& s) {
  report.line("swap",
              "%" PRIu64 " slots, %.1f MiB compressed, %" PRIu64 " written back, %" PRIu64
              " incompressible, %" PRIu64 " hash mismatches",
              s.slots_used, mib(s.compressed_bytes), s.written_back, s.incompressible,
              s.hash_mismatches);
  std::size_t number = 0;
  for (const SwapTierStats& tier : s.tiers) add_tier(report, tier, number++);
}

}  // namespace

std::string Stats::to_string() const {
  Report report;
  report.line("memory",
              "budget %.1f MiB, tables %.1f MiB, managed %.1f MiB, overhead beside the budget "
              "%.1f MiB",
              mib(budget_bytes), mib(metadata_bytes), mib(managed_bytes), mib(overhead_bytes));
  add_pages(report, *this);
  add_faults(report, *this);
  add_reclaim(report, *this);
  add_swap(report, *this);
  return report.take();
}

}  // namespace holdfast
