#include "run/memory_map.h"

#include <fcntl.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <bit>

#include "run/pagemap.h"
#include "run/process_files.h"

namespace holdfast::run {
namespace {

constexpr std::uint64_t kCellsMax = 1024;  // of what one process has touched
constexpr std::uint64_t kCellPagesMin = 4;
constexpr std::uint64_t kRegionsMax = 16;
constexpr std::uint64_t kShareMin = 200;  // a region is shown if it has so much of all, a 200th
constexpr std::uint64_t kGapMin = 16;     // cells never touched that are drawn as so many
constexpr std::size_t kCommandMax = 160;

bool is_shown(MappingKind kind) noexcept {
  return is_managed(kind) || kind == MappingKind::main_stack;
}

void add(PageCounts& counts, PageSpan::State state, std::uint64_t pages) noexcept {
  (state == PageSpan::State::resident  ? counts.resident
   : state == PageSpan::State::swapped ? counts.swapped
                                       : counts.filled) += pages;
}

void add(PageCounts& counts, const PageCounts& more) noexcept {
  counts.resident += more.resident;
  counts.swapped += more.swapped;
  counts.filled += more.filled;
}

// Calls visit(span cut to the region) for each span that has a part in it.
template <class Visit>
void spans_in(const std::vector<PageSpan>& spans, Range range, Visit visit) {
  const std::uint64_t first = range.start >> kPageShift;
  const std::uint64_t last = range.end >> kPageShift;
  auto at = std::ranges::upper_bound(spans, first, {}, &PageSpan::first_page);
  if (at != spans.begin()) --at;
  for (; at != spans.end() && at->first_page < last; ++at) {
    const std::uint64_t begin = std::max(first, at->first_page);
    const std::uint64_t end = std::min(last, at->first_page + at->pages);
    if (begin < end) visit(PageSpan{begin, end - begin, at->state});
  }
}

void add_gap(std::vector<MapCell>& cells, std::uint64_t gap) {
  if (gap >= kGapMin) {
    cells.push_back({.gap = gap, .pages = {}});
  } else {
    cells.resize(cells.size() + gap);
  }
}

std::vector<MapCell> cells_of(const std::vector<PageSpan>& spans, Range range,
                              std::uint64_t cell_pages) {
  std::vector<MapCell> cells;
  const std::uint64_t start = range.start >> kPageShift;
  std::uint64_t next = 0;  // the cell after the last one that is there
  spans_in(spans, range, [&](PageSpan span) {
    while (span.pages > 0) {
      const std::uint64_t cell = (span.first_page - start) / cell_pages;
      const std::uint64_t end = start + (cell + 1) * cell_pages;
      const std::uint64_t here = std::min(span.pages, end - span.first_page);
      if (cell >= next) {
        add_gap(cells, cell - next);
        cells.emplace_back();
        next = cell + 1;
      }
      add(cells.back().pages, span.state, here);
      span.first_page += here;
      span.pages -= here;
    }
  });
  const std::uint64_t whole = ((range.bytes() >> kPageShift) + cell_pages - 1) / cell_pages;
  add_gap(cells, whole - next);
  return cells;
}

// Those that matter stay, in address order.
void leave_out_small(ProcessMap& map) {
  const std::uint64_t least = map.pages.touched() / kShareMin;
  const auto larger = [](const RegionMap& a, const RegionMap& b) {
    return a.pages.touched() > b.pages.touched();
  };
  std::ranges::sort(map.regions, larger);
  std::size_t kept = 0;
  while (kept < map.regions.size() && kept < kRegionsMax &&
         map.regions[kept].pages.touched() >= std::max<std::uint64_t>(least, 1)) {
    ++kept;
  }
  for (std::size_t i = kept; i < map.regions.size(); ++i) {
    ++map.small_regions;
    add(map.small_pages, map.regions[i].pages);
  }
  map.regions.resize(kept);
  std::ranges::sort(map.regions, {}, [](const RegionMap& r) { return r.mapping.range.start; });
}

void add_resident(int pid, Range range, std::vector<PageSpan>& spans) {
  const int pagemap =
      ::open(("/proc/" + std::to_string(pid) + "/pagemap").c_str(), O_RDONLY | O_CLOEXEC);
  if (pagemap < 0) return;
  std::array<PagemapRun, 512> found;
  while (range.start < range.end) {
    PagemapScan scan{};
    scan.size = sizeof scan;
    scan.start = range.start;
    scan.end = range.end;
    scan.vector = reinterpret_cast<std::uintptr_t>(found.data());
    scan.vector_length = found.size();
    scan.any_of = kPageIsPresent | kPageIsSwapped;
    scan.wanted = kPageIsPresent;
    const int count = ::ioctl(pagemap, kPagemapScan, &scan);
    if (count < 0) break;
    for (int i = 0; i < count; ++i) {
      const PagemapRun& run = found[static_cast<std::size_t>(i)];
      spans.push_back({run.start >> kPageShift, (run.end - run.start) >> kPageShift,
                       (run.categories & kPageIsPresent) != 0 ? PageSpan::State::resident
                                                              : PageSpan::State::swapped});
    }
    range.start = scan.walk_end;
  }
  ::close(pagemap);
}

void tell_own(std::vector<Mapping>& mappings, const std::vector<Range>& own) {
  for (Mapping& mapping : mappings) {
    for (const Range& range : own) {
      if (mapping.range.start < range.end && range.start < mapping.range.end) {
        mapping.kind = MappingKind::own;
      }
    }
  }
}

std::string command_of(int pid) {
  std::string text = file_contents("/proc/" + std::to_string(pid) + "/cmdline");
  while (text.ends_with('\0')) text.pop_back();
  std::ranges::replace(text, '\0', ' ');
  if (text.size() > kCommandMax) text = text.substr(0, kCommandMax) + "...";
  return text;
}

}  // namespace

ProcessMap map_spans(const std::vector<Mapping>& mappings, std::vector<PageSpan> spans) {
  ProcessMap map;
  std::ranges::sort(spans, {}, &PageSpan::first_page);
  for (const Mapping& mapping : mappings) {
    if (!is_shown(mapping.kind)) continue;
    RegionMap region{.mapping = mapping, .pages = {}, .cells = {}};
    spans_in(spans, mapping.range,
             [&](const PageSpan& span) { add(region.pages, span.state, span.pages); });
    add(map.pages, region.pages);
    map.regions.push_back(std::move(region));
  }
  leave_out_small(map);
  const std::uint64_t cell_pages =
      std::bit_ceil(std::max(map.pages.touched() / kCellsMax, kCellPagesMin));
  map.cell_bytes = cell_pages * kPageSize;
  for (RegionMap& region : map.regions) {
    region.cells = cells_of(spans, region.mapping.range, cell_pages);
  }
  return map;
}

std::uint64_t resident_in(int pid, Range range) {
  std::vector<PageSpan> spans;
  add_resident(pid, range, spans);
  std::uint64_t pages = 0;
  for (const PageSpan& span : spans) {
    if (span.state == PageSpan::State::resident) pages += span.pages;
  }
  return pages;
}

ProcessMap map_process(int pid, Client* client) {
  std::vector<Mapping> mappings = mappings_of(pid);
  std::vector<PageSpan> spans;
  if (client != nullptr) {
    std::vector<Client::OutRun> out;
    std::vector<Range> own;
    client->copy_out_runs(out, own);
    tell_own(mappings, own);
    for (const Client::OutRun& run : out) {
      spans.push_back({run.first_page, run.pages,
                       run.filled ? PageSpan::State::filled : PageSpan::State::swapped});
    }
  }
  for (const Mapping& mapping : mappings) {
    if (is_shown(mapping.kind)) add_resident(pid, mapping.range, spans);
  }
  ProcessMap map = map_spans(mappings, std::move(spans));
  map.pid = pid;
  map.managed = client != nullptr;
  map.command = command_of(pid);
  return map;
}

}  // namespace holdfast::run
