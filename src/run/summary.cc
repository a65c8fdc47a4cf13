// What a run says at its end.
#include <fmt/format.h>

#include "run/report.h"
#include "run/text.h"

namespace holdfast::run {
namespace {

std::string pages_text(std::uint64_t pages) { return bytes_text(pages * kPageSize); }

void line(std::string& text, const std::string& rest) { text += "holdfast: " + rest + "\n"; }

std::string traffic(const swap::TierStats& tier) {
  if (tier.kind == swap::TierKind::ram) {
    return fmt::format("compressed memory took {} pages and gave {}", count_text(tier.stores),
                       count_text(tier.loads));
  }
  return fmt::format("{} was written {} and read {}",
                     tier.kind == swap::TierKind::file ? "the swap file" : "far memory",
                     bytes_text(tier.written_bytes), bytes_text(tier.read_bytes));
}

std::string leaving(const Report& report) {
  return fmt::format("evicted {} ({} unchanged, {} of one word), brought back {} ({} rescued)",
                     pages_text(report.pages_out), percent_text(report.clean, report.pages_out),
                     percent_text(report.filled, report.pages_out), pages_text(report.pages_in),
                     percent_text(report.rescued, report.pages_in));
}

std::string ahead(const Report& report) {
  return fmt::format("of that {} ahead by the recording, {} of which the program came past",
                     pages_text(report.ahead_pages),
                     percent_text(report.ahead_passed, report.ahead_pages));
}

std::string compression(const Report& report) {
  const std::uint64_t bytes = report.stored_pages_peak * kPageSize;
  return fmt::format("at most {} in swap, which took {} ({:.1f} : 1)", bytes_text(bytes),
                     bytes_text(report.image_bytes_peak),
                     static_cast<double>(bytes) / static_cast<double>(report.image_bytes_peak));
}

}  // namespace

std::string summary_text(const Report& report) {
  std::string text;
  const std::string over = report.overshoot_pages == 0
                               ? "never above it"
                               : fmt::format("overshoot {}", pages_text(report.overshoot_pages));
  line(text, fmt::format("peak resident {} of {}, {}; peak wanted {}",
                         pages_text(report.peak_resident_pages), bytes_text(report.budget_bytes),
                         over, pages_text(report.peak_wanted_pages)));
  if (report.pages_out == 0) {
    line(text, fmt::format("nothing had to leave in {}", seconds_text(report.elapsed_ns)));
    return text;
  }
  line(text,
       fmt::format("stalled {} of {} ({}), {} faults", seconds_text(report.stalled_ns),
                   seconds_text(report.elapsed_ns),
                   percent_text(report.stalled_ns, report.elapsed_ns), count_text(report.faults)));
  line(text, leaving(report));
  if (report.replays) line(text, ahead(report));
  if (report.recorded_pages > 0) {
    line(text, fmt::format("recorded {} that came back", pages_text(report.recorded_pages)));
  }
  if (report.image_bytes_peak > 0) line(text, compression(report));
  std::string tiers;
  for (const swap::TierStats& tier : report.tiers) {
    if (tier.stores > 0) tiers += (tiers.empty() ? "" : "; ") + traffic(tier);
  }
  if (!tiers.empty()) line(text, tiers);
  return text;
}

}  // namespace holdfast::run
