// Objects of a session in a pool of Ceph, and of an image.
#pragma once

#include <memory>

#include "sys/object_store.h"

namespace holdfast::sys::real {

// See Machine::open_object_store. Task context; waits for the cluster.
[[nodiscard]] Expected<std::unique_ptr<ObjectStore>> open_rados_store(
    const ObjectStoreOptions& options);
// See Machine::open_far_image and those after it.
[[nodiscard]] Expected<OpenedFarImage> open_rados_image(const ObjectStoreOptions& options);
[[nodiscard]] Expected<std::vector<FarImage>> list_rados_images(const ObjectStoreOptions& options);
[[nodiscard]] Expected<FarImage> remove_rados_image(const ObjectStoreOptions& options);

}  // namespace holdfast::sys::real
