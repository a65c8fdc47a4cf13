// What there is of far memory where librados' header was missing when this was built.
#include "sys/real/rados_store.h"

namespace holdfast::sys {
namespace {

constexpr Error kNotBuilt{
    .code = Errc::unsupported,
    .doing = "open far memory",
    .what = "librados when this was built",
    .remedy = "install librados-dev (tools/install_packages build) and build Holdfast again"};

}  // namespace

namespace real {

Expected<std::unique_ptr<ObjectStore>> open_rados_store(const ObjectStoreOptions&) {
  return fail(kNotBuilt);
}

Expected<OpenedFarImage> open_rados_image(const ObjectStoreOptions&) { return fail(kNotBuilt); }

Expected<std::vector<FarImage>> list_rados_images(const ObjectStoreOptions&) {
  return fail(kNotBuilt);
}

Expected<FarImage> remove_rados_image(const ObjectStoreOptions&) { return fail(kNotBuilt); }

}  // namespace real

Expected<std::vector<FarSession>> list_far_sessions(const ObjectStoreOptions&) {
  return fail(kNotBuilt);
}

Expected<FarSession> remove_far_session(const ObjectStoreOptions&, const std::string&) {
  return fail(kNotBuilt);
}

}  // namespace holdfast::sys
