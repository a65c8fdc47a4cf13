#include "cli/doctor.h"

#include <fmt/format.h>

#include <cerrno>
#include <cstring>
#include <nlohmann/json.hpp>

#include "cli/size.h"

namespace holdfast::cli {
namespace {

using sys::Ability;
using sys::Capabilities;
using sys::Reading;
using Verdict = Finding::Verdict;

// What every way of getting a userfaultfd has in common as a remedy.
constexpr const char* kOpenUserfault =
    "as root: chmod 666 /dev/userfaultfd (or a udev rule for a group of yours), or sysctl "
    "vm.unprivileged_userfaultfd=1, or give the program CAP_SYS_PTRACE; in a container pass "
    "--device /dev/userfaultfd or allow userfaultfd in its seccomp profile";

std::string refused(const Ability& ability) {
  if (ability.works) return "works";
  return ability.os_errno == 0 ? "not there"
                               : fmt::format("refused: {}", strerror(ability.os_errno));
}

std::string number(const Reading& reading) {
  if (reading.os_errno != 0) return fmt::format("unknown: {}", strerror(reading.os_errno));
  return std::to_string(reading.value);
}

std::string size(const Reading& reading) {
  if (reading.os_errno != 0) return fmt::format("unknown: {}", strerror(reading.os_errno));
  // Version 1 control groups say "no limit" by a number close to 2^63.
  if (reading.value >= std::uint64_t{1} << 62) return "no limit";
  if (reading.value < (1 << 20)) return fmt::format("{} KiB", reading.value >> 10);
  return fmt::format("{} MiB", reading.value >> 20);
}

// Collects findings.
class Findings {
 public:
  void note(const char* key, std::string text) { add(key, Verdict::note, std::move(text), ""); }
  // Good if it works; else as bad as `otherwise` says, and the remedy is given.
  void ability(const char* key, const Ability& ability, Verdict otherwise, const char* remedy) {
    add(key, ability.works ? Verdict::good : otherwise, refused(ability),
        ability.works ? "" : remedy);
  }
  void feature(const char* key, bool there, Verdict otherwise, const char* remedy) {
    add(key, there ? Verdict::good : otherwise, there ? "works" : "not there", there ? "" : remedy);
  }
  void add(const char* key, Verdict verdict, std::string text, std::string remedy) {
    all_.push_back({key, verdict, std::move(text), std::move(remedy)});
  }
  [[nodiscard]] std::vector<Finding> take() { return std::move(all_); }

 private:
  std::vector<Finding> all_;
};

bool can_open(const Capabilities& c) {
  return c.userfault_device.works || c.userfault_call.works || c.userfault_user_mode.works;
}

void add_userfault(Findings& findings, const Capabilities& c) {
  const bool open = can_open(c);
  const Verdict closed = open ? Verdict::note : Verdict::missing;
  findings.ability("userfaultfd-device", c.userfault_device, closed, open ? "" : kOpenUserfault);
  findings.ability("userfaultfd-call", c.userfault_call, closed, open ? "" : kOpenUserfault);
  findings.ability("userfaultfd-user-mode", c.userfault_user_mode, closed,
                   open ? "" : "a kernel with CONFIG_USERFAULTFD, 5.11 or newer");
  findings.note("vm.unprivileged_userfaultfd", number(c.unprivileged_sysctl));
  findings.ability("signal-delivery", c.signal_delivery, Verdict::missing,
                   open ? "a kernel with UFFD_FEATURE_SIGBUS: 4.14 or newer" : kOpenUserfault);
  findings.ability("thread-delivery", c.thread_delivery, Verdict::note, kOpenUserfault);
}

void add_features(Findings& findings, const Capabilities& c) {
  findings.ability("mremap-dontunmap", c.remap_out, Verdict::missing, "Linux 5.7 or newer");
  findings.feature("uffdio-move", c.has_move, Verdict::note,
                   "Linux 6.8 or newer; without it runs of pages are copied in");
  findings.feature("write-protect", c.has_write_protect, Verdict::note, "Linux 5.7 or newer");
  findings.feature("write-protect-async", c.has_write_protect_async, Verdict::note,
                   "Linux 6.7 or newer");
  findings.feature("recency-by-protection", c.has_rwp, Verdict::note,
                   "Linux 7.2 or newer; recency is learnt from rescues without it");
  findings.ability("vectored-discard", c.vectored_discard, Verdict::note,
                   "Linux 6.13 or newer; scattered pages are given back one by one without it");
}

void add_io(Findings& findings, const Capabilities& c) {
  findings.ability(
      "io_uring", c.io_uring, Verdict::note,
      "as root: sysctl kernel.io_uring_disabled=0, or allow io_uring in the container's "
      "seccomp profile; swap files use pread and pwrite without it");
  findings.note("kernel.io_uring_disabled", number(c.io_uring_disabled));
}

void add_limits(Findings& findings, const Capabilities& c) {
  findings.note("memory", size(c.memory));
  findings.note("memory-limit", size(c.memory_limit));
  findings.note("locked-memory-limit", size(c.memory_lock_limit));
  findings.note("mappings-limit", number(c.mappings_max));
  findings.note("cpus", fmt::format("{} usable of {}", c.cpus_usable, c.cpus_configured));
  findings.note("huge-pages", c.huge_pages.empty() ? "none" : c.huge_pages);
}

const char* mark(Verdict verdict) {
  switch (verdict) {
    case Verdict::good:
      return "ok";
    case Verdict::note:
      return "";
    case Verdict::missing:
      return "MISSING";
  }
  return "";
}

}  // namespace

Diagnosis diagnose(const Capabilities& capabilities) {
  Findings findings;
  findings.note("kernel",
                capabilities.kernel_release.empty() ? "unknown" : capabilities.kernel_release);
  add_userfault(findings, capabilities);
  add_features(findings, capabilities);
  add_io(findings, capabilities);
  add_limits(findings, capabilities);
  Diagnosis diagnosis;
  diagnosis.usable = capabilities.signal_delivery.works && capabilities.remap_out.works;
  diagnosis.pmap = !diagnosis.usable       ? "none"
                   : capabilities.has_move ? "remap with MOVE"
                                           : "remap with COPY only";
  diagnosis.findings = findings.take();
  return diagnosis;
}

void add_run(Diagnosis& diagnosis, const run::Needs& needs) {
  constexpr const char* kTrace =
      "run as root, or give the command CAP_SYS_PTRACE: setcap cap_sys_ptrace=ep on it, or "
      "--cap-add SYS_PTRACE in a container";
  Findings findings;
  findings.ability("run-userfaultfd", {needs.userfault_errno == 0, needs.userfault_errno},
                   Verdict::missing, kOpenUserfault);
  findings.ability("run-fork-events", {needs.events_errno == 0, needs.events_errno},
                   Verdict::missing, needs.events_errno == EINVAL ? "Linux 6.7 or newer" : kTrace);
  findings.feature("run-cap-sys-ptrace", needs.trace, Verdict::missing, kTrace);
  findings.feature("run-uffdio-move", needs.move, Verdict::missing,
                   needs.userfault_errno == 0 ? "Linux 6.8 or newer" : kOpenUserfault);
  findings.feature("run-pagemap-scan", needs.pagemap_scan, Verdict::missing, "Linux 6.7 or newer");
  findings.add("run-shim", needs.shim.empty() ? Verdict::missing : Verdict::good,
               needs.shim.empty() ? "not there" : needs.shim,
               needs.shim.empty() ? "libholdfast_run.so belongs beside the holdfast command or in "
                                    "../lib/holdfast: install it again"
                                  : "");
  diagnosis.run_known = true;
  diagnosis.run_usable = needs.met();
  findings.add("run", needs.met() ? Verdict::good : Verdict::missing,
               needs.met() ? "holdfast run works here" : "holdfast run cannot work here", "");
  for (Finding& finding : findings.take()) diagnosis.findings.push_back(std::move(finding));
}

std::string as_text(const Diagnosis& diagnosis) {
  std::string text;
  for (const Finding& finding : diagnosis.findings) {
    text += fmt::format("{:<28} {:<8} {}\n", finding.key, mark(finding.verdict), finding.text);
    if (!finding.remedy.empty())
      text += fmt::format("{:<28} {:<8} -> {}\n", "", "", finding.remedy);
  }
  text +=
      fmt::format("{:<28} {:<8} {}\n", "pmap", diagnosis.usable ? "ok" : "MISSING", diagnosis.pmap);
  text += diagnosis.usable ? "an engine can run here\n" : "no engine can run here\n";
  return text;
}

std::string as_json(const Diagnosis& diagnosis) {
  nlohmann::ordered_json json;
  json["usable"] = diagnosis.usable;
  json["pmap"] = diagnosis.pmap;
  if (diagnosis.run_known) json["run_usable"] = diagnosis.run_usable;
  for (const Finding& finding : diagnosis.findings) {
    auto& entry = json["findings"][finding.key];
    entry["text"] = finding.text;
    entry["missing"] = finding.verdict == Verdict::missing;
    if (!finding.remedy.empty()) entry["remedy"] = finding.remedy;
  }
  return json.dump(2) + "\n";
}

}  // namespace holdfast::cli
