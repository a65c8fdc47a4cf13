// Images in a pool: an object for each name, which says whose objects the image is.
//
// An image is whole, and seen, where its name's object names a session whose header says that it is
// that session: the name comes last, and who removes an image marks its header first. What is in
// between, a name without such a header or a header without a name, nobody sees; it is removed with
// the sessions that are dead.
#pragma once

#include <string>
#include <vector>

#include "sys/real/rados_pool.h"

namespace holdfast::sys::real {

inline constexpr const char* kNamePrefix = "holdfast.image-name.";

[[nodiscard]] inline std::string name_object(const std::string& name) { return kNamePrefix + name; }

// Puts together: makes the object of the image's name, which must not be there.
void name_image(const RadosPool& pool, const RadosWrite& write, const FarImage& image);
// What an errno of naming an image means.
[[nodiscard]] Error publish_error(int error);

// --- task context, waiting ---
// Errors: invalid_argument (there is an image of that name).
[[nodiscard]] Expected<void> check_name_is_free(const RadosPool& pool, const std::string& name);
// Errors: not_found.
[[nodiscard]] Expected<FarImage> find_image(const RadosPool& pool, const std::string& name);
// What the names say, whether or not it is there.
[[nodiscard]] Expected<std::vector<FarImage>> named_images(const RadosPool& pool);
[[nodiscard]] bool is_whole(const RadosPool& pool, const FarImage& image);

}  // namespace holdfast::sys::real
