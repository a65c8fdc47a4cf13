// `holdfast doctor`: what this machine allows, what follows from it, and what to do about the rest.
//
// Flow: sys::probe_capabilities() -> diagnose() -> as_text() or as_json(). diagnose() asks nothing
// of the machine, so tests hand it any machine they like.
#pragma once

#include <string>
#include <vector>

#include "run/run.h"
#include "sys/sys.h"

namespace holdfast::cli {

// One line of the report.
struct Finding {
  enum class Verdict : std::uint8_t {
    good,     // there
    note,     // a fact, or something better to have; an engine runs without it
    missing,  // no engine can run without it; where the key begins with run-: no `holdfast run`
  };
  std::string key;  // "io_uring": stable, for --json
  Verdict verdict = Verdict::note;
  std::string text;    // "allowed"
  std::string remedy;  // what to do; empty if nothing need be done
};

struct Diagnosis {
  bool usable = false;      // an engine can run
  std::string pmap;         // "remap with MOVE", "remap with COPY only", "none"
  bool run_known = false;   // add_run() was called, and
  bool run_usable = false;  // `holdfast run` works
  std::vector<Finding> findings;
};

[[nodiscard]] Diagnosis diagnose(const sys::Capabilities& capabilities);
// What `holdfast run` needs besides.
void add_run(Diagnosis& diagnosis, const run::Needs& needs);
// Aligned lines, the verdict last.
[[nodiscard]] std::string as_text(const Diagnosis& diagnosis);
// One JSON object: usable, pmap, and findings by key.
[[nodiscard]] std::string as_json(const Diagnosis& diagnosis);

}  // namespace holdfast::cli
