#include "report.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>

namespace holdfast::bench {
namespace {

#if defined(HOLDFAST_DEBUG) || defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool kDebugBuild = true;
#else
constexpr bool kDebugBuild = false;
#endif

constexpr unsigned kRoundsLeast = 5;  // below that a median says little

// Four significant digits, without an exponent for anything that is measured here.
std::string figure(double value) {
  if (value >= 1000) return fmt::format("{:.0f}", value);
  return fmt::format("{:#.4g}", value);
}

std::string marks(const Run& run) {
  return fmt::format("{}{}{}", run.scale > 1 ? " scaled" : "",
                     run.rounds < kRoundsLeast ? " few-rounds" : "",
                     kDebugBuild ? " debug-build" : "");
}

bool met(const Comparison& comparison, const Outcome& outcome) {
  if (outcome.limit) return median(outcome.series.ours) <= *outcome.limit;
  if (!outcome.peer_lost.empty()) return true;
  return ratio_of(outcome.series, outcome.better) >= comparison.target;
}

std::string figures_of(const Series& series, const Outcome& outcome) {
  const std::string ours = fmt::format("ours={} {}", figure(median(series.ours)), outcome.unit);
  if (series.peer.empty()) return ours;
  return fmt::format("{} peer={} {} ratio={:.2f}", ours, figure(median(series.peer)), outcome.unit,
                     ratio_of(series, outcome.better));
}

std::string rounds_of(const std::string& name, const Series& series) {
  std::string text = fmt::format("  {} ours: {:#.4g}\n", name, fmt::join(series.ours, " "));
  if (!series.peer.empty()) {
    text += fmt::format("  {} peer: {:#.4g}\n", name, fmt::join(series.peer, " "));
  }
  return text;
}

std::string indented(const std::string& note) {
  std::string text = "  ";
  for (char letter : note) {
    text += letter;
    if (letter == '\n') text += "    ";
  }
  text.erase(text.find_last_not_of(" \n") + 1);
  return text + "\n";
}

nlohmann::json series_json(const Series& series, const Outcome& outcome) {
  nlohmann::json json = {{"ours", median(series.ours)}, {"ours_rounds", series.ours}};
  if (series.peer.empty()) return json;
  json["peer"] = median(series.peer);
  json["peer_rounds"] = series.peer;
  json["ratio"] = ratio_of(series, outcome.better);
  return json;
}

// The first line of /proc/cpuinfo or /proc/meminfo that begins with `key`, after its colon.
std::string proc_value(const char* path, const std::string& key) {
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    const auto colon = line.find(':');
    if (!line.starts_with(key) || colon == std::string::npos) continue;
    return line.substr(std::min(line.find_first_not_of(" \t", colon + 1), line.size()));
  }
  return "unknown";
}

}  // namespace

std::string result_line(const Comparison& comparison, const Outcome& outcome, const Run& run) {
  std::string line = comparison.name + " " + figures_of(outcome.series, outcome);
  if (!outcome.peer_lost.empty()) line += " peer=" + outcome.peer_lost;
  if (comparison.target == 0) return line + " reported" + marks(run);
  if (outcome.limit) {
    line += fmt::format(" limit={} {}", figure(*outcome.limit), outcome.unit);
  } else {
    line += fmt::format(" target={:.2f}", comparison.target);
  }
  return line + (met(comparison, outcome) ? " met" : " short") + marks(run);
}

std::string trouble_line(const Comparison& comparison, const Trouble& trouble) {
  const char* word = trouble.kind == TroubleKind::skipped  ? "skipped"
                     : trouble.kind == TroubleKind::failed ? "failed"
                                                           : "interrupted";
  return fmt::format("{} {}: {}", comparison.name, word, trouble.why);
}

std::string details(const Comparison& comparison, const Outcome& outcome, const Run& run) {
  std::string text;
  for (const Aside& aside : outcome.asides) {
    text +=
        fmt::format("  info: {} {}{}\n", aside.name, figures_of(aside.series, outcome), marks(run));
  }
  for (const std::string& remark : outcome.remarks) text += "  info: " + remark + "\n";
  if (!run.verbose) return text;
  text += rounds_of(comparison.name, outcome.series);
  for (const Aside& aside : outcome.asides) text += rounds_of(aside.name, aside.series);
  for (const std::string& note : outcome.notes) text += indented(note);
  return text;
}

nlohmann::json to_json(const Comparison& comparison, const Result<Outcome>& outcome,
                       const Run& run) {
  nlohmann::json json = {{"name", comparison.name}, {"scaled", run.scale > 1}};
  if (!outcome) {
    json[outcome.error().kind == TroubleKind::skipped ? "skipped" : "failed"] = outcome.error().why;
    return json;
  }
  json.update(series_json(outcome->series, *outcome));
  json["unit"] = outcome->unit;
  json["better"] = outcome->better == Better::less ? "less" : "more";
  json["result"] = comparison.target == 0      ? "reported"
                   : met(comparison, *outcome) ? "met"
                                               : "short";
  if (!outcome->peer_lost.empty()) json["peer_lost"] = outcome->peer_lost;
  if (outcome->limit) {
    json["limit"] = *outcome->limit;
  } else {
    json["target"] = comparison.target;
  }
  for (const Aside& aside : outcome->asides) {
    json["info"][aside.name] = series_json(aside.series, *outcome);
  }
  json["remarks"] = outcome->remarks;
  json["notes"] = outcome->notes;
  return json;
}

nlohmann::json describe_machine() {
  struct utsname name = {};
  uname(&name);
  return {{"kernel", name.release},
          {"architecture", name.machine},
          {"processor", proc_value("/proc/cpuinfo", "model name")},
          {"cpus", sysconf(_SC_NPROCESSORS_ONLN)},
          {"memory", proc_value("/proc/meminfo", "MemTotal")},
          {"debug_build", kDebugBuild}};
}

}  // namespace holdfast::bench
