// The kernel's side of a paging comparison: the same loop on plain anonymous memory, in a child
// process in a memory cgroup of its own, swapping to zram or to a swap file of its own.
//
// Who owns what: a KernelPeer owns the cgroup, the swap space and the process, and takes all of
// them down in its destructor, in the order in which that works: process, swap, device, cgroup.
#pragma once

#include <memory>
#include <string>

#include "kernel_peer/cgroup.h"
#include "kernel_peer/swap_area.h"
#include "kernel_peer/swap_file.h"
#include "kernel_peer/zram.h"
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
    return zram_ ? double(zram_->memory_bytes()) / double(1 << 20) : 0;
  }
  // What was set up, and what it takes now.
  [[nodiscard]] std::string description() const;

 private:
  KernelPeer() = default;
  Result<void> enable_swap(const Scene& scene);

  std::unique_ptr<MemoryCgroup> cgroup_;  // members go in the opposite order
  std::unique_ptr<ZramDevice> zram_;
  std::unique_ptr<SwapFile> file_;
  std::unique_ptr<SwapArea> area_;
  std::unique_ptr<WorkerProcess> process_;
};

}  // namespace holdfast::bench
