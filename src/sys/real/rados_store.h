// Objects of a session in a pool of Ceph.
#pragma once

#include <memory>

#include "sys/object_store.h"

namespace holdfast::sys::real {

// See Machine::open_object_store. Task context; waits for the cluster.
[[nodiscard]] Expected<std::unique_ptr<ObjectStore>> open_rados_store(
    const ObjectStoreOptions& options);

}  // namespace holdfast::sys::real
