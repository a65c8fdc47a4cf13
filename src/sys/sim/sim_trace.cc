#include "sys/sim/sim_trace.h"

#include <algorithm>
#include <cstdio>

namespace holdfast::sys {
namespace {

constexpr const char* kEventNames[] = {"start",
                                       "finish",
                                       "switch_to",
                                       "wait",
                                       "wake",
                                       "timeout",
                                       "interrupt",
                                       "reserve",
                                       "release",
                                       "discard",
                                       "remap_out",
                                       "register_range",
                                       "unregister_range",
                                       "copy",
                                       "move",
                                       "protect",
                                       "load",
                                       "store",
                                       "fault",
                                       "served",
                                       "read",
                                       "write",
                                       "punch",
                                       "note"};
static_assert(std::size(kEventNames) == static_cast<std::size_t>(SimEvent::note) + 1);

}  // namespace

std::string SimTrace::tail(std::size_t lines) const {
  const std::uint64_t kept = std::min<std::uint64_t>({count_, kKept, lines});
  std::string text;
  for (std::uint64_t i = count_ - kept; i < count_; ++i) {
    const Entry& e = last_[i % kKept];
    char line[128];
    std::snprintf(line, sizeof line, "  #%llu thread %u %s %#llx %#llx\n",
                  static_cast<unsigned long long>(i), e.thread,
                  kEventNames[static_cast<std::size_t>(e.event)],
                  static_cast<unsigned long long>(e.a), static_cast<unsigned long long>(e.b));
    text += line;
  }
  return text;
}

}  // namespace holdfast::sys
