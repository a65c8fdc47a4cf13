// What a report is made of, and what it becomes: samples, maps of memory, JSON, a page, a summary.
#include "run/report.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <nlohmann/json.hpp>

#include "run/observer.h"
#include "run/stall_clock.h"
#include "run/text.h"

namespace holdfast::run {
namespace {

constexpr std::uint64_t kMs = 1'000'000;

// --- stall clock ---

TEST(StallClock, several_that_wait_at_once_count_once) {
  StallClock clock;
  clock.enter(10 * kMs);
  clock.enter(12 * kMs);
  clock.leave(15 * kMs);
  EXPECT_EQ(clock.stalled_ns(16 * kMs), 6 * kMs);  // the first still waits
  clock.leave(20 * kMs);
  EXPECT_EQ(clock.stalled_ns(50 * kMs), 10 * kMs);
  clock.enter(60 * kMs);
  clock.leave(61 * kMs);
  EXPECT_EQ(clock.stalled_ns(70 * kMs), 11 * kMs);
}

// --- history ---

Sample sample_at(std::uint64_t time_ms) {
  return {.time_ns = time_ms * kMs,
          .resident_pages = time_ms % 7 == 3 ? 1000 + time_ms : time_ms,
          .faults = time_ms * 5};
}

TEST(History, stays_within_its_bound_and_keeps_peaks_and_sums) {
  History history(64, 10 * kMs);
  std::uint64_t most = 0;
  for (std::uint64_t ms = 0; ms < 100'000; ++ms) {
    if (!history.is_due(ms * kMs)) continue;
    const Sample sample = sample_at(ms);
    most = std::max(most, sample.resident_pages);
    history.add(sample);
    ASSERT_LE(history.samples().size(), 64U);
  }
  const std::vector<Sample>& samples = history.samples();
  EXPECT_GE(samples.size(), 32U);
  EXPECT_EQ(samples.front().time_ns, 0U);
  std::uint64_t kept_most = 0;
  for (std::size_t i = 0; i < samples.size(); ++i) {
    EXPECT_EQ(samples[i].faults, samples[i].time_ns / kMs * 5);
    if (i > 0) {
      EXPECT_GT(samples[i].time_ns, samples[i - 1].time_ns);
    }
    kept_most = std::max(kept_most, samples[i].resident_pages);
  }
  EXPECT_EQ(kept_most, most);
}

// --- mappings ---

constexpr const char* kMaps =
    "55d0c0000000-55d0c0001000 r-xp 00000000 08:01 131 /usr/bin/cat\n"
    "55d0c1000000-55d0c1021000 rw-p 00000000 00:00 0                  [heap]\n"
    "7f0000000000-7f0000100000 rw-p 00000000 00:00 0 \n"
    "7f0000100000-7f0004000000 ---p 00000000 00:00 0 \n"
    "7f1000000000-7f1040000000 rw-p 00000000 00:00 0 \n"
    "7f1040000000-7f1040001000 rw-s 00000000 00:01 77 /memfd:ring (deleted)\n"
    "7f1040001000-7f1040002000 rw-s 00000000 08:01 78 /var/lib/table\n"
    "7f1040002000-7f1040003000 rw-p 00000000 00:00 0                  [anon:arrow pool]\n"
    "7ffd00000000-7ffd00021000 rw-p 00000000 00:00 0                  [stack]\n"
    "7ffd00100000-7ffd00102000 r-xp 00000000 00:00 0                  [vdso]\n";

TEST(Mappings, are_told_by_kind) {
  const std::vector<Mapping> all = parse_mappings(kMaps);
  const std::vector<MappingKind> expected{
      MappingKind::file,       MappingKind::heap,   MappingKind::arena, MappingKind::read_only,
      MappingKind::anonymous,  MappingKind::shared, MappingKind::file,  MappingKind::anonymous,
      MappingKind::main_stack, MappingKind::special};
  ASSERT_EQ(all.size(), expected.size());
  for (std::size_t i = 0; i < all.size(); ++i) EXPECT_EQ(all[i].kind, expected[i]) << i;
  EXPECT_EQ(all[0].name, "/usr/bin/cat");
  EXPECT_EQ(all[7].name, "arrow pool");
  EXPECT_EQ(all[4].range.bytes(), std::uint64_t{1} << 30);
  for (const Mapping& mapping : all) {
    const bool managed = mapping.kind == MappingKind::heap || mapping.kind == MappingKind::arena ||
                         mapping.kind == MappingKind::anonymous;
    EXPECT_EQ(is_managed(mapping.kind), managed) << name(mapping.kind);
  }
}

TEST(Mappings, of_this_process_hold_its_heap_and_its_stack) {
  int here = 0;
  const auto address = reinterpret_cast<Address>(&here);
  bool found = false;
  for (const Mapping& mapping : mappings_of(::getpid())) {
    if (mapping.range.start <= address && address < mapping.range.end) {
      found = mapping.kind == MappingKind::main_stack || mapping.kind == MappingKind::thread_stack;
    }
  }
  EXPECT_TRUE(found);
}

// --- maps ---

ProcessMap example_map() {
  const std::uint64_t array = Address{0x7f1000000000} >> kPageShift;
  const std::uint64_t heap = Address{0x55d0c1000000} >> kPageShift;
  return map_spans(parse_mappings(kMaps),
                   {{array + 1024, 512, PageSpan::State::swapped},
                    {array, 1024, PageSpan::State::resident},
                    {array + 200'000, 3, PageSpan::State::filled},
                    {heap, 33, PageSpan::State::resident},
                    {Address{0x55d0c0000000} >> kPageShift, 1, PageSpan::State::resident}});
}

TEST(MemoryMap, counts_each_page_once_in_the_mapping_that_has_it) {
  const ProcessMap map = example_map();
  EXPECT_EQ(map.pages.resident, 1024U + 33);  // a file's page is not shown
  EXPECT_EQ(map.pages.swapped, 512U);
  EXPECT_EQ(map.pages.filled, 3U);
  ASSERT_EQ(map.regions.size(), 2U);  // the heap and the array; what was never touched is not shown
  EXPECT_EQ(map.small_regions, 3U);   // arena, pool, stack
  const RegionMap& array = map.regions[1];
  PageCounts sum;
  std::uint64_t cells = 0;
  for (const MapCell& cell : array.cells) {
    sum.resident += cell.pages.resident;
    sum.swapped += cell.pages.swapped;
    sum.filled += cell.pages.filled;
    EXPECT_LE(cell.pages.touched() * kPageSize, map.cell_bytes);
    cells += cell.gap > 0 ? cell.gap : 1;
  }
  EXPECT_EQ(sum.resident, 1024U);
  EXPECT_EQ(sum.swapped, 512U);
  EXPECT_EQ(sum.filled, 3U);
  EXPECT_EQ(cells * map.cell_bytes, array.mapping.range.bytes());
}

TEST(MemoryMap, of_a_huge_mapping_is_small) {
  std::vector<Mapping> mappings(1);
  mappings[0].range = {.start = 0x10000000000, .end = 0x10000000000 + (Address{1} << 44)};
  const std::uint64_t first = mappings[0].range.start >> kPageShift;
  std::vector<PageSpan> spans;
  for (std::uint64_t i = 0; i < 10'000; ++i) {
    spans.push_back({first + i * 400'000, 100, PageSpan::State::swapped});
  }
  const ProcessMap map = map_spans(mappings, spans);
  EXPECT_EQ(map.pages.swapped, 1'000'000U);
  EXPECT_LE(map.regions[0].cells.size(), 21'000U);
}

TEST(MemoryMap, the_largest_regions_are_shown_and_the_rest_is_counted) {
  std::vector<Mapping> mappings(100);
  std::vector<PageSpan> spans;
  for (std::uint64_t i = 0; i < mappings.size(); ++i) {
    mappings[i].range = {.start = i << 24, .end = (i << 24) + (1 << 20)};
    spans.push_back({(i << 24) >> kPageShift, i, PageSpan::State::resident});
  }
  const ProcessMap map = map_spans(mappings, spans);
  EXPECT_EQ(map.small_regions + map.regions.size(), 100U);
  EXPECT_EQ(map.regions.back().mapping.range.start, std::uint64_t{99} << 24);
  std::uint64_t shown = 0;
  for (const RegionMap& region : map.regions) shown += region.pages.resident;
  EXPECT_EQ(shown + map.small_pages.resident, 99U * 100 / 2);
}

// --- what it becomes ---

Report example() {
  Report report;
  report.command = {"python3", "</script><b>", std::string("\xff\xfe")};
  report.outcome = "exit status 0";
  report.elapsed_ns = 4000 * kMs;
  report.budget_bytes = 512 << 20;
  report.peak_resident_pages = 131'072 + 100;
  report.overshoot_pages = 100;
  report.peak_wanted_pages = 400'000;
  report.stalled_ns = 1000 * kMs;
  report.faults = 123'456;
  report.pages_out = 1000;
  report.clean = 250;
  report.filled = 100;
  report.pages_in = 800;
  report.rescued = 200;
  report.stored_pages_peak = 262'144;
  report.image_bytes_peak = 512 << 20;
  report.tiers = {{.kind = swap::TierKind::ram, .stores = 5000, .loads = 77},
                  {.kind = swap::TierKind::file, .stores = 9, .written_bytes = 3 << 20}};
  report.samples = {
      {.time_ns = 0, .resident_pages = 1},
      {.time_ns = 2000 * kMs, .resident_pages = 5, .faults = 100, .stalled_ns = 500 * kMs}};
  report.maps.push_back(
      {.time_ns = 7 * kMs, .wanted_pages = 9, .processes = {example_map()}, .other_processes = 0});
  return report;
}

TEST(Report, json_says_what_the_report_says) {
  const auto json = nlohmann::json::parse(report_json(example()));
  EXPECT_EQ(json["peak_resident_bytes"], (131'072 + 100) * kPageSize);
  EXPECT_EQ(json["samples"]["faults_per_s"][1], 50);
  EXPECT_EQ(json["samples"]["stalled_percent"][1], 25);
  EXPECT_EQ(json["samples"]["time_ms"].size(), json["samples"]["resident_bytes"].size());
  EXPECT_EQ(json["tiers"][1]["kind"], "file");
  const auto& region = json["maps"][0]["processes"][0]["regions"][1];
  EXPECT_EQ(region["kind"], "anonymous");
  EXPECT_EQ(region["swapped_bytes"], 512 * kPageSize);
  EXPECT_NE(region["cells"].get<std::string>().find('*'), std::string::npos);
}

TEST(Report, page_is_whole_and_takes_nothing_from_anywhere) {
  const std::string page = report_html(example());
  EXPECT_TRUE(page.starts_with("<!doctype html>"));
  EXPECT_TRUE(page.ends_with("</html>\n"));
  for (const char* const placeholder : {"{{title}}", "{{style}}", "{{data}}", "{{script}}"}) {
    EXPECT_EQ(page.find(placeholder), std::string::npos) << placeholder;
  }
  for (const char* const foreign : {"src=", "href=", "@import", "url(", "fetch("}) {
    EXPECT_EQ(page.find(foreign), std::string::npos) << foreign;
  }
  // What the program is called cannot end the element that holds it.
  EXPECT_EQ(page.find("</script><b>"), std::string::npos);
  const std::string open = "<script type=\"application/json\" id=\"data\">";
  const std::size_t start = page.find(open) + open.size();
  const auto json =
      nlohmann::json::parse(page.substr(start, page.find("</script>", start) - start));
  EXPECT_EQ(json["command"][1], "</script><b>");
}

TEST(Report, form_is_told_by_the_name) {
  EXPECT_TRUE(report_for("a.html", example()).starts_with("<!doctype"));
  EXPECT_TRUE(report_for("a.json", example()).starts_with("{"));
  EXPECT_TRUE(report_for("a", example()).starts_with("{"));
}

TEST(Report, summary_names_what_matters) {
  EXPECT_EQ(summary_text(example()),
            "holdfast: peak resident 512 MiB of 512 MiB, overshoot 400 KiB; peak wanted 1.53 GiB\n"
            "holdfast: stalled 1.00 s of 4.00 s (25 %), 123,456 faults\n"
            "holdfast: evicted 3.91 MiB (25 % unchanged, 10 % of one word), brought back 3.12 MiB "
            "(25 % rescued)\n"
            "holdfast: at most 1.00 GiB in swap, which took 512 MiB (2.0 : 1)\n"
            "holdfast: compressed memory took 5,000 pages and gave 77; the swap file was written "
            "3.00 MiB and read 0 B\n");
}

TEST(Report, summary_of_a_run_that_fits_is_short) {
  Report report;
  report.budget_bytes = 1 << 30;
  report.elapsed_ns = 2500 * kMs;
  report.peak_resident_pages = report.peak_wanted_pages = 2560;
  EXPECT_EQ(summary_text(report),
            "holdfast: peak resident 10.0 MiB of 1.00 GiB, never above it; peak wanted 10.0 MiB\n"
            "holdfast: nothing had to leave in 2.50 s\n");
}

TEST(Text, numbers_have_three_digits_and_a_unit) {
  EXPECT_EQ(bytes_text(0), "0 B");
  EXPECT_EQ(bytes_text(1023), "1023 B");
  EXPECT_EQ(bytes_text(1536), "1.50 KiB");
  EXPECT_EQ(bytes_text(std::uint64_t{1000} << 20), "0.98 GiB");
  EXPECT_EQ(count_text(999), "999");
  EXPECT_EQ(count_text(1'234'567), "1,234,567");
  EXPECT_EQ(short_count_text(12'440), "12.4k");
  EXPECT_EQ(percent_text(1, 1000), "0.1 %");
  EXPECT_EQ(percent_text(1, 10'000), "< 0.1 %");
  EXPECT_EQ(percent_text(1, 0), "0 %");
}

}  // namespace
}  // namespace holdfast::run
