// What the parts of one simulated machine share. Owned by SimMachine.
#pragma once

#include <cstddef>
#include <map>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "sys/object_store.h"
#include "sys/sim/sim_device_file.h"
#include "sys/sim/sim_disk.h"
#include "sys/sim/sim_failures.h"
#include "sys/sim/sim_memory.h"
#include "sys/sim/sim_options.h"
#include "sys/sim/sim_random.h"
#include "sys/sim/sim_ranges.h"
#include "sys/sim/sim_scheduler.h"
#include "sys/sim/sim_stats.h"
#include "sys/sim/sim_trace.h"

namespace holdfast::sys {

class SimFaultSource;
class SimAsync;

struct SimCore {
  explicit SimCore(const SimOptions& machine_options)
      : options(machine_options),
        random(machine_options.seed),
        failures(options, random.split()),
        scheduler(options, random.split(), trace, stats) {}
  SimCore(const SimCore&) = delete;
  SimCore& operator=(const SimCore&) = delete;

  // What a simulated descriptor stands for; null: nothing.
  [[nodiscard]] SimDeviceFile* device(int fd) const noexcept {
    const auto index = static_cast<std::size_t>(fd - kFirstDescriptor);
    return fd < kFirstDescriptor || index >= devices.size() ? nullptr : devices[index].get();
  }

  const SimOptions options;
  SimRandom random;  // split to the parts, then for random_u64(), latencies, torn writes
  SimStats stats;
  SimTrace trace;
  Failures failures;
  SimScheduler scheduler;
  SimMemory memory;
  SimRanges<SimFaultSource*> registered;
  static constexpr int kFirstDescriptor = 1000;  // none that the process has
  std::vector<std::unique_ptr<SimDeviceFile>> devices;
  std::vector<SimAsync*> queues;
  SimDisk disk;
  // The store of objects beyond this machine: those of each session, and the images in it.
  using SimObjects = std::unordered_map<std::uint64_t, std::vector<std::byte>>;
  std::map<std::string, SimObjects> sessions;
  std::uint64_t sessions_begun = 0;
  bool object_reads_stall = false, object_writes_stall = false;
  std::map<std::string, FarImage> images;  // by pool, namespace and name
};

}  // namespace holdfast::sys
