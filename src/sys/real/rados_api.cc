#include "sys/real/rados_api.h"

#include <dlfcn.h>

#include <cerrno>

#include "sys/real/real_thread.h"

namespace holdfast::sys::real {
namespace {

struct Loaded {
  RadosApi api;
  const char* missing = nullptr;  // what could not be had
};

Loaded load() {
  Loaded loaded;
  // Never unloaded: its threads may outlive every cluster for a moment.
  void* const library = ::dlopen("librados.so.2", RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
  if (library == nullptr) {
    loaded.missing = "librados.so.2";
    return loaded;
  }
#define HOLDFAST_RADOS_LOOK_UP(call)                                              \
  loaded.api.call = reinterpret_cast<decltype(&::call)>(::dlsym(library, #call)); \
  if (loaded.api.call == nullptr) loaded.missing = #call;
  HOLDFAST_RADOS_CALLS(HOLDFAST_RADOS_LOOK_UP)
#undef HOLDFAST_RADOS_LOOK_UP
  return loaded;
}

}  // namespace

Expected<const RadosApi*> rados_api() {
  static const Loaded loaded = load();
  if (loaded.missing == nullptr) return &loaded.api;
  return fail({.code = Errc::unsupported,
               .os_errno = ENOENT,
               .doing = "load the client library of Ceph",
               .what = loaded.missing,
               .remedy = "install librados2 (Debian: apt-get install librados2)"});
}

}  // namespace holdfast::sys::real
