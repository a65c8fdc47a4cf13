// A connection to a Ceph cluster and to one namespace of one of its pools.
//
// Who owns what: the pool owns its connection, with all threads that librados starts for it. They
// take no asynchronous signal of the program's.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "sys/object_store.h"
#include "sys/real/rados_api.h"

namespace holdfast::sys::real {

class RadosPool {
 public:
  // Waits for a monitor, for 30 s at most. Errors: as Machine::open_object_store.
  [[nodiscard]] static Expected<std::unique_ptr<RadosPool>> open(const ObjectStoreOptions& options);
  ~RadosPool();
  RadosPool(const RadosPool&) = delete;
  RadosPool& operator=(const RadosPool&) = delete;

  [[nodiscard]] const RadosApi& api() const noexcept { return api_; }
  [[nodiscard]] rados_ioctx_t io() const noexcept { return io_; }

  // --- task context, waiting ---
  // An attribute of an object; empty: it has none, or there is no such object.
  [[nodiscard]] std::string attribute(const std::string& object, const char* name) const;
  // What an object holds, as far as `bytes_max`. errno.
  [[nodiscard]] int content(const std::string& object, std::size_t bytes_max,
                            std::string& bytes) const;
  // Removes an object, also from a full pool; that there is none is no error. errno.
  [[nodiscard]] int remove(const std::string& object) const;
  // Names of objects that begin with `prefix`. Looks at every object of the namespace. errno.
  [[nodiscard]] int list(const std::string& prefix, std::vector<std::string>& names) const;

 private:
  explicit RadosPool(const RadosApi& api) noexcept : api_(api) {}
  Expected<void> connect(const ObjectStoreOptions& options);

  const RadosApi& api_;
  rados_t cluster_ = nullptr;
  bool connected_ = false;
  rados_ioctx_t io_ = nullptr;
};

// A write operation on one object, put together call by call and then begun or run.
class RadosWrite {
 public:
  explicit RadosWrite(const RadosPool& pool) noexcept
      : pool_(pool), op_(pool.api().rados_create_write_op()) {}
  ~RadosWrite() { pool_.api().rados_release_write_op(op_); }
  RadosWrite(const RadosWrite&) = delete;
  RadosWrite& operator=(const RadosWrite&) = delete;

  [[nodiscard]] rados_write_op_t op() const noexcept { return op_; }
  // Waits for the outcome: an errno.
  [[nodiscard]] int run(const std::string& object, int flags) const {
    return -pool_.api().rados_write_op_operate(op_, pool_.io(), object.c_str(), nullptr, flags);
  }

 private:
  const RadosPool& pool_;
  rados_write_op_t op_;
};

}  // namespace holdfast::sys::real
