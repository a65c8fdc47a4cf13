#include "sys/real/rados_pool.h"

#include <algorithm>
#include <array>
#include <cerrno>

#include "sys/real/real_thread.h"

namespace holdfast::sys::real {
namespace {

constexpr std::uint64_t kSecond = 1'000'000'000;
constexpr std::uint64_t kConnectSeconds = 30;

Error open_error(int error, const char* what, const char* remedy) {
  Error e{.code = Errc::system,
          .os_errno = error,
          .doing = "open far memory",
          .what = what,
          .remedy = remedy};
  if (error == ENOENT) e.code = Errc::not_found;
  if (error == EACCES || error == EPERM) e.code = Errc::permission;
  if (error == ETIMEDOUT) e.code = Errc::timed_out;
  return e;
}

Error connect_error(int error) {
  switch (error) {
    case EACCES:
    case EPERM:
      return open_error(error, "key",
                        "the cluster refuses the user's key: give a keyring of its own");
    case ENOENT:
      return open_error(error, "keyring", "name the user's keyring in the cluster's configuration");
    case ETIMEDOUT:
      return open_error(error, "monitor",
                        "no monitor answers: see that the cluster runs, and that "
                        "its configuration names its monitors");
    default:
      return open_error(error, "cluster", "see that the configuration is the cluster's");
  }
}

}  // namespace

Expected<std::unique_ptr<RadosPool>> RadosPool::open(const ObjectStoreOptions& options) {
  const SignalsBlocked blocked;  // for the threads that librados starts
  const RadosApi* const api = TRY(rados_api());
  std::unique_ptr<RadosPool> pool(new RadosPool(*api));
  TRY_VOID(pool->connect(options));
  return pool;
}

RadosPool::~RadosPool() {
  if (io_ != nullptr) api_.rados_ioctx_destroy(io_);
  if (cluster_ != nullptr) api_.rados_shutdown(cluster_);
}

Expected<void> RadosPool::connect(const ObjectStoreOptions& options) {
  int error = -api_.rados_create(&cluster_, options.user.c_str());
  if (error != 0) return fail(open_error(error, "user", "name a user, as in admin"));
  const char* const file = options.configuration.empty() ? nullptr : options.configuration.c_str();
  error = -api_.rados_conf_read_file(cluster_, file);
  if (error != 0) {
    return fail(open_error(error, "configuration",
                           "name the cluster's: rados:POOL@/path/to/ceph.conf, or see that "
                           "/etc/ceph/ceph.conf is there"));
  }
  (void)api_.rados_conf_parse_env(cluster_, nullptr);
  const std::uint64_t wait = std::max<std::uint64_t>(1, options.wait_ns / kSecond);
  const std::string patience = std::to_string(wait);
  const std::string first = std::to_string(std::min(wait, kConnectSeconds));
  const std::pair<const char*, const char*> settings[] = {
      {"client_mount_timeout", first.c_str()},
      {"rados_osd_op_timeout", patience.c_str()},
      {"rados_mon_op_timeout", patience.c_str()},
      {"log_to_stderr", "false"},  // what goes wrong reaches the user as our error
      {"err_to_stderr", "false"},
  };
  for (const auto& [name, value] : settings) (void)api_.rados_conf_set(cluster_, name, value);
  error = -api_.rados_connect(cluster_);
  if (error != 0) return fail(connect_error(error));
  error = -api_.rados_ioctx_create(cluster_, options.pool.c_str(), &io_);
  if (error != 0) {
    return fail(
        open_error(error, "pool", "make the pool, or name one that is there: ceph osd lspools"));
  }
  if (!options.name_space.empty()) {
    api_.rados_ioctx_set_namespace(io_, options.name_space.c_str());
  }
  return {};
}

std::string RadosPool::attribute(const std::string& object, const char* name) const {
  std::array<char, 256> value{};
  const int length = api_.rados_getxattr(io_, object.c_str(), name, value.data(), value.size());
  return length <= 0 ? std::string() : std::string(value.data(), static_cast<std::size_t>(length));
}

int RadosPool::content(const std::string& object, std::size_t bytes_max, std::string& bytes) const {
  bytes.resize(bytes_max);
  const int got = api_.rados_read(io_, object.c_str(), bytes.data(), bytes.size(), 0);
  bytes.resize(got < 0 ? 0 : static_cast<std::size_t>(got));
  return got < 0 ? -got : 0;
}

int RadosPool::remove(const std::string& object) const {
  const RadosWrite write(*this);
  api_.rados_write_op_remove(write.op());
  const int error = write.run(object, LIBRADOS_OPERATION_FULL_FORCE);
  return error == ENOENT ? 0 : error;
}

int RadosPool::list(const std::string& prefix, std::vector<std::string>& names) const {
  rados_list_ctx_t context = nullptr;
  int error = -api_.rados_nobjects_list_open(io_, &context);
  if (error != 0) return error;
  const char* entry = nullptr;
  while ((error = -api_.rados_nobjects_list_next(context, &entry, nullptr, nullptr)) == 0) {
    std::string name = entry;
    if (name.starts_with(prefix)) names.push_back(std::move(name));
  }
  api_.rados_nobjects_list_close(context);
  return error == ENOENT ? 0 : error;  // the end
}

}  // namespace holdfast::sys::real
