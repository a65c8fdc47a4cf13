// Comparisons: what holdfast-bench can measure, and how two sides are measured against each other.
//
// A comparison has a name (paging/zram/random-read), a target (how many times better the engine has
// to be than its peer) and a function that sets both sides up, lets them work in turns for a number
// of rounds and gives back every round's figures. The figure of a side is the median of its rounds.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "trouble.h"
#include "worker_process.h"

namespace holdfast::bench {

// How a run was asked for.
struct Run {
  unsigned rounds = 5;
  std::uint64_t scale = 1;  // sizes and counts are divided by it: a smoke test, no measurement
  bool verbose = false;
  [[nodiscard]] std::uint64_t scaled(std::uint64_t amount) const { return amount / scale; }
};

enum class Better : std::uint8_t { less, more };

// Both sides' figures, one a round.
struct Series {
  std::vector<double> ours;
  std::vector<double> peer;
};

// A second pair of figures that goes with a comparison and has no target of its own.
struct Aside {
  std::string name;
  Series series;
};

struct Outcome {
  std::string unit = {};
  Better better = Better::less;
  Series series = {};                // peer empty where `limit` is the measure
  std::optional<double> limit = {};  // ours has to be no more than this
  std::string peer_lost = {};        // why the peer has no figure though it could run: we win
  std::vector<Aside> asides = {};
  std::vector<std::string> remarks = {};  // what a reader must know of the figures; always shown
  std::vector<std::string> notes = {};    // what the sides say about themselves, for --verbose
};

struct Comparison {
  std::string name;
  double target = 1;  // 0: none, the figure is just reported
  std::string about;  // one sentence: the work, and the peer
  std::function<Result<Outcome>(const Run&)> run;
};

using Registry = std::vector<Comparison>;
void add_swapping(Registry& registry);      // paging/zram, paging/file
void add_hit(Registry& registry);           // paging/hit
void add_first_touch(Registry& registry);   // paging/first-touch
void add_threads(Registry& registry);       // paging/threads
void add_footprint(Registry& registry);     // paging/metadata, paging/map-1T
void add_pins(Registry& registry);          // pin/resident
void add_aio(Registry& registry);           // aio/read, aio/write, aio/pressure
void add_first_writes(Registry& registry);  // cow
void add_memory_peak(Registry& registry);   // cow/memory
void add_freeing(Registry& registry);       // free/owner, free/churn
void add_capture(Registry& registry);       // capture/rate
void add_kv(Registry& registry);            // cow/kv, cow/save
void add_files(Registry& registry);         // file/scan, file/random, file/sort and so on
void add_commits(Registry& registry);       // file/commit, file/recovery
void add_shadow(Registry& registry);        // file/shadow/16, file/shadow/journal-16 and so on
void add_programs(Registry& registry);      // run/sort-zram and so on
void add_far(Registry& registry);           // far

// The comparisons that `name` asks for: the one of that name, or all below it (paging/zram).
[[nodiscard]] std::vector<const Comparison*> select(const Registry& registry,
                                                    const std::string& name);

[[nodiscard]] double median(std::vector<double> values);
// How many times better ours is than the peer, by the medians.
[[nodiscard]] double ratio_of(const Series& series, Better better);

// One turn of a side; its figure.
using Turn = std::function<Result<double>()>;
// Runs the rounds: ours and peer in turns; who begins changes with every round. A short pause
// before each turn lets the other side's background work end, outside of what is measured.
[[nodiscard]] Result<Series> interleave(const Run& run, const Turn& ours, const Turn& peer);

// One side as a process that waits for its turns: the process, and which of its loops.
struct Side {
  WorkerProcess& process;
  unsigned part = 0;
};
[[nodiscard]] Result<Series> interleave(const Run& run, Side ours, Side peer);

// A loop that both sides have: the first of a list gives the figure, the others asides.
struct Loop {
  unsigned part = 0;
  std::string aside = {};  // its name, of all but the first
};
// Lets a side set itself up and go through every loop once, which counts not.
[[nodiscard]] Result<void> get_ready(WorkerProcess& side, const std::vector<Loop>& loops);
// Adds what the side says of itself to the outcome's notes, and lets it leave.
[[nodiscard]] Result<void> leave(WorkerProcess& side, Outcome& outcome);

// A whole comparison of two processes: starts both, lets each go through every loop once to warm
// caches (which counts not), runs the rounds of each loop, and adds series, asides and what the
// sides say of themselves to `outcome`, which comes with its unit.
[[nodiscard]] Result<Outcome> compare_sides(const Run& run, Outcome outcome,
                                            const WorkerProcess::Factory& ours,
                                            const WorkerProcess::Factory& peer,
                                            const std::vector<Loop>& loops = {{}});

}  // namespace holdfast::bench
