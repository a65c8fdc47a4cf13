// A report as one JSON object. Pages are bytes here, and what is sampled is one array for each
// quantity, all of one length.
#include <array>
#include <nlohmann/json.hpp>

#include "run/report.h"

namespace holdfast::run {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::uint64_t kNsPerMs = 1'000'000;

Json totals(const Report& report) {
  Json json;
  json["command"] = report.command;
  json["outcome"] = report.outcome;
  json["started"] = report.started;
  json["elapsed_ns"] = report.elapsed_ns;
  json["budget_bytes"] = report.budget_bytes;
  json["peak_resident_bytes"] = report.peak_resident_pages * kPageSize;
  json["peak_wanted_bytes"] = report.peak_wanted_pages * kPageSize;
  json["overshoot_bytes"] = report.overshoot_pages * kPageSize;
  json["stalled_ns"] = report.stalled_ns;
  json["waited_ns"] = report.waited_ns;
  json["faults"] = report.faults;
  json["fresh_pages"] = report.fresh_pages;
  json["pages_in"] = report.pages_in;
  json["ahead_pages"] = report.ahead_pages;
  json["ahead_passed"] = report.ahead_passed;
  json["recorded_pages"] = report.recorded_pages;
  json["read_ahead_pages"] = report.read_ahead;
  json["pages_out"] = report.pages_out;
  json["rescued"] = report.rescued;
  json["clean"] = report.clean;
  json["filled"] = report.filled;
  json["stored"] = report.stored;
  json["returned"] = report.returned;
  json["busy"] = report.busy;
  json["address_spaces"] = report.spaces;
  json["forks"] = report.forks;
  json["peak_stored_bytes"] = report.stored_pages_peak * kPageSize;
  json["peak_image_bytes"] = report.image_bytes_peak;
  return json;
}

Json tiers(const Report& report) {
  Json all = Json::array();
  for (const swap::TierStats& tier : report.tiers) {
    all.push_back({{"kind", swap::name(tier.kind)},
                   {"limit_bytes", tier.limit_bytes},
                   {"stores", tier.stores},
                   {"loads", tier.loads},
                   {"written_bytes", tier.written_bytes},
                   {"read_bytes", tier.read_bytes}});
  }
  return all;
}

// Values since the sample before, by the second; `unit` in each is `of` nanoseconds' worth.
std::uint64_t rate(std::uint64_t now, std::uint64_t before, std::uint64_t ns) {
  if (ns == 0 || now < before) return 0;
  return static_cast<std::uint64_t>(static_cast<double>(now - before) * 1e9 /
                                    static_cast<double>(ns));
}

Json samples(const Report& report) {
  Json json;
  for (const char* const key :
       {"time_ms", "resident_bytes", "evicted_bytes", "compressed_bytes", "file_bytes",
        "faults_per_s", "in_bytes_per_s", "out_bytes_per_s", "stalled_percent"}) {
    json[key] = Json::array();
  }
  Sample before;
  for (const Sample& now : report.samples) {
    const std::uint64_t ns = now.time_ns - before.time_ns;
    json["time_ms"].push_back(now.time_ns / kNsPerMs);
    json["resident_bytes"].push_back(now.resident_pages * kPageSize);
    json["evicted_bytes"].push_back(now.out_pages * kPageSize);
    json["compressed_bytes"].push_back(now.compressed_bytes);
    json["file_bytes"].push_back(now.file_bytes);
    json["faults_per_s"].push_back(rate(now.faults, before.faults, ns));
    json["in_bytes_per_s"].push_back(rate(now.pages_in, before.pages_in, ns) * kPageSize);
    json["out_bytes_per_s"].push_back(rate(now.pages_out, before.pages_out, ns) * kPageSize);
    json["stalled_percent"].push_back(
        std::min<std::uint64_t>(rate(now.stalled_ns, before.stalled_ns, ns) / 10'000'000, 100));
    before = now;
  }
  return json;
}

void add_pages(Json& json, const PageCounts& pages) {
  json["resident_bytes"] = pages.resident * kPageSize;
  json["swapped_bytes"] = pages.swapped * kPageSize;
  json["filled_bytes"] = pages.filled * kPageSize;
}

// A cell is three digits of base 36, how much of it is resident, swapped and filled (z: all of it);
// "*N;" are N cells that were never touched.
std::string cells_text(const RegionMap& region, std::uint64_t cell_bytes) {
  constexpr const char* kDigits = "0123456789abcdefghijklmnopqrstuvwxyz";
  const std::uint64_t whole = cell_bytes / kPageSize;
  std::string text;
  for (const MapCell& cell : region.cells) {
    if (cell.gap > 0) {
      text += '*' + std::to_string(cell.gap) + ';';
      continue;
    }
    for (const std::uint64_t part : {cell.pages.resident, cell.pages.swapped, cell.pages.filled}) {
      // Rounded up: a single page is seen.
      text += kDigits[std::min<std::uint64_t>((part * 35 + whole - 1) / whole, 35)];
    }
  }
  return text;
}

Json process_json(const ProcessMap& map) {
  Json json{{"pid", map.pid},
            {"command", map.command},
            {"managed", map.managed},
            {"cell_bytes", map.cell_bytes}};
  add_pages(json, map.pages);
  json["regions"] = Json::array();
  for (const RegionMap& region : map.regions) {
    Json one{{"start", region.mapping.range.start},
             {"bytes", region.mapping.range.bytes()},
             {"kind", name(region.mapping.kind)},
             {"name", region.mapping.name}};
    add_pages(one, region.pages);
    one["cells"] = cells_text(region, map.cell_bytes);
    json["regions"].push_back(std::move(one));
  }
  json["small_regions"] = map.small_regions;
  add_pages(json["small"], map.small_pages);
  return json;
}

Json maps(const Report& report) {
  Json all = Json::array();
  for (const MemoryMap& map : report.maps) {
    Json json{{"time_ms", map.time_ns / kNsPerMs},
              {"wanted_bytes", map.wanted_pages * kPageSize},
              {"other_processes", map.other_processes},
              {"processes", Json::array()}};
    for (const ProcessMap& process : map.processes) {
      json["processes"].push_back(process_json(process));
    }
    all.push_back(std::move(json));
  }
  return all;
}

}  // namespace

std::string report_json(const Report& report) {
  Json json = totals(report);
  json["tiers"] = tiers(report);
  json["samples"] = samples(report);
  json["maps"] = maps(report);
  // Arguments and names need not be UTF-8.
  return json.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n";
}

}  // namespace holdfast::run
