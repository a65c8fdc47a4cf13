// What the program prints and writes: one line a comparison, and the same as JSON.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "comparison.h"

namespace holdfast::bench {

// "paging/hit ours=12.3 ns peer=11.9 ns ratio=0.97 target=1.00 short", or with a limit instead of
// a peer "paging/metadata ours=0.80 % limit=1.50 % met"; "peer=killed by ..." where the peer could
// run and did not get to the end, which is met. A run that measures nothing says so at the
// end: "scaled", "few-rounds", "debug-build".
[[nodiscard]] std::string result_line(const Comparison& comparison, const Outcome& outcome,
                                      const Run& run);
[[nodiscard]] std::string trouble_line(const Comparison& comparison, const Trouble& trouble);
// The lines that go with a result: asides always, rounds and notes when verbose.
[[nodiscard]] std::string details(const Comparison& comparison, const Outcome& outcome,
                                  const Run& run);

[[nodiscard]] nlohmann::json to_json(const Comparison& comparison, const Result<Outcome>& outcome,
                                     const Run& run);
// Kernel, processor, number of CPUs, memory.
[[nodiscard]] nlohmann::json describe_machine();

}  // namespace holdfast::bench
