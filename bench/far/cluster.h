// The cluster of far/*: that of $HOLDFAST_CEPH_DIR, a folder of scripts/ceph-cluster.sh in which
// one runs, or one of this process's own on loopback, which goes with it.
#pragma once

#include <holdfast/holdfast.h>

#include <cstdint>
#include <memory>
#include <string>

#include "command.h"
#include "trouble.h"

namespace holdfast::bench {

class Cluster {
 public:
  // Waits until objects can be written. Skipped where it cannot be had here.
  [[nodiscard]] static Result<std::unique_ptr<Cluster>> open();
  ~Cluster();
  Cluster(const Cluster&) = delete;
  Cluster& operator=(const Cluster&) = delete;

  // For engines: a namespace of the pool.
  [[nodiscard]] FarPool pool(const std::string& name_space) const;
  [[nodiscard]] std::string configuration() const { return folder_ + "/ceph.conf"; }
  // A command of the script; `rados ARGUMENTS` on the pool as the user who may use it.
  [[nodiscard]] Said script(const std::string& command) const;
  [[nodiscard]] Said rados(const std::string& arguments) const;
  // Bytes that its OSDs have received since they were started, from clients and from each other.
  [[nodiscard]] Result<double> bytes_received() const;

 private:
  Cluster() = default;

  std::string folder_;
  bool own_ = false;
};

// `rados bench`: writes for some seconds, and removes what it wrote.
struct RadosBench {
  std::uint64_t object_bytes = 0;
  unsigned at_once = 1;
  unsigned seconds = 2;
};
struct Written {
  double bytes_per_second = 0;
  double objects = 0;
  double bytes_received = 0;  // by the OSDs meanwhile
};
[[nodiscard]] Result<Written> run_rados_bench(const Cluster& cluster, const RadosBench& job);

}  // namespace holdfast::bench
