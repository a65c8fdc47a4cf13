// librados, as far as we use it. It is loaded when it is first wanted, not linked: it brings 60 MB
// of libraries with it, which no program shall carry that has no far memory, and it may be missing.
#pragma once

#include <rados/librados.h>

#include "base/base.h"

namespace holdfast::sys::real {

// The one list of what we call; each is a member of RadosApi, of the type that its header says.
#define HOLDFAST_RADOS_CALLS(CALL)   \
  CALL(rados_create)                 \
  CALL(rados_conf_read_file)         \
  CALL(rados_conf_parse_env)         \
  CALL(rados_conf_set)               \
  CALL(rados_connect)                \
  CALL(rados_shutdown)               \
  CALL(rados_ioctx_create)           \
  CALL(rados_ioctx_destroy)          \
  CALL(rados_ioctx_set_namespace)    \
  CALL(rados_aio_create_completion2) \
  CALL(rados_aio_get_return_value)   \
  CALL(rados_aio_release)            \
  CALL(rados_aio_read)               \
  CALL(rados_read)                   \
  CALL(rados_aio_write_op_operate)   \
  CALL(rados_create_write_op)        \
  CALL(rados_release_write_op)       \
  CALL(rados_write_op_create)        \
  CALL(rados_write_op_assert_exists) \
  CALL(rados_write_op_cmpxattr)      \
  CALL(rados_write_op_setxattr)      \
  CALL(rados_write_op_exec)          \
  CALL(rados_write_op_write_full)    \
  CALL(rados_write_op_remove)        \
  CALL(rados_write_op_operate)       \
  CALL(rados_getxattr)               \
  CALL(rados_stat)                   \
  CALL(rados_list_lockers)           \
  CALL(rados_unlock)                 \
  CALL(rados_nobjects_list_open)     \
  CALL(rados_nobjects_list_next)     \
  CALL(rados_nobjects_list_close)

struct RadosApi {
#define HOLDFAST_RADOS_MEMBER(call) decltype(&::call) call = nullptr;
  HOLDFAST_RADOS_CALLS(HOLDFAST_RADOS_MEMBER)
#undef HOLDFAST_RADOS_MEMBER
};

// Loads it, once a process. Task context, any thread. Errors: unsupported.
[[nodiscard]] Expected<const RadosApi*> rados_api();

}  // namespace holdfast::sys::real
