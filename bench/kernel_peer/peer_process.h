// The kernel's side of a paging comparison: the same loop on plain anonymous memory, in a child
// process in a memory cgroup of its own, swapping to zram or to a swap file of its own.
//
// Who owns what: a KernelPeer owns the cgroup with its swap space and the process, and takes the
// process down first.
#pragma once

#include <memory>
#include <string>

#include "kernel_peer/swapping_group.h"
#include "scene.h"
#include "worker_process.h"

namespace holdfast::bench {

class KernelPeer {
 public:
  // Sets everything up; the process waits for prepare(). Skipped where the machine forbids it.
  // work: what the process does; by default the scene's loads and stores.
  [[nodiscard]] static Result<std::unique_ptr<KernelPeer>> start(const Scene& scene,
                                                                 WorkerProcess::Factory work = {});

  [[nodiscard]] WorkerProcess& process() { return *process_; }
  // MiB that the zram device takes beside the process; 0 without one.
  [[nodiscard]] double device_mebibytes() const {
    return group_->zram() ? double(group_->zram()->memory_bytes()) / double(1 << 20) : 0;
  }
  // What was set up, and what it takes now.
  [[nodiscard]] std::string description() const { return group_->description(); }

 private:
  KernelPeer() = default;

  std::unique_ptr<SwappingGroup> group_;  // goes after the process
  std::unique_ptr<WorkerProcess> process_;
};

}  // namespace holdfast::bench
