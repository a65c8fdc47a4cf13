// Names of pools as users write them: POOL[/NAMESPACE][@CONF].
#pragma once

#include <expected>
#include <string>

#include "sys/sys.h"

namespace holdfast::cli {

// "jobs", "jobs/mine", "jobs@/path/ceph.conf", with or without "rados:" in front. The unexpected
// value says what is wrong.
[[nodiscard]] std::expected<sys::ObjectStoreOptions, std::string> parse_pool(
    const std::string& text);

}  // namespace holdfast::cli
