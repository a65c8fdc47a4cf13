// Names of pools and of images in them, as users write them:
//
//     POOL[/NAMESPACE][@CONF]                              a pool, with or without "rados:" before
//     it rados:[USER@]POOL[/NAMESPACE]/NAME[@CONF]            an image
//
// CONF: the cluster's configuration, else /etc/ceph/ceph.conf. USER: of the cluster, else admin.
#pragma once

#include <expected>
#include <string>

#include "base/base.h"
#include "sys/object_store.h"

namespace holdfast::sys {

// "jobs", "jobs/mine", "jobs@/path/ceph.conf", with or without "rados:" in front. The unexpected
// value says what is wrong.
[[nodiscard]] std::expected<ObjectStoreOptions, std::string> parse_pool(const std::string& text);

// True for names of images that are not files: they begin with "rados:".
[[nodiscard]] bool is_far_name(const std::string& text) noexcept;
// The name of an image as the store's options. Errors: invalid_argument.
[[nodiscard]] Expected<ObjectStoreOptions> parse_image_name(const std::string& text);

}  // namespace holdfast::sys
