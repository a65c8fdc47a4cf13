#include "sys/real/rados_lease.h"

#include <cstring>

namespace holdfast::sys::real {
namespace {

constexpr std::uint64_t kSecond = 1'000'000'000;
constexpr std::uint64_t kRemovalLease = 60 * kSecond;
constexpr const char* kBeingRemoved = "being removed";

// Ceph's encoding: little-endian numbers, and strings with their length before them.
class Encoder {
 public:
  void number(std::uint64_t value, int bytes) {
    for (int i = 0; i < bytes; ++i) bytes_ += static_cast<char>(value >> (8 * i) & 0xff);
  }
  void text(const std::string& value) {
    number(value.size(), 4);
    bytes_ += value;
  }
  [[nodiscard]] const std::string& bytes() const noexcept { return bytes_; }

 private:
  std::string bytes_;
};

// The input of the method lock of the class lock (cls_lock_lock_op of Ceph, version 1).
std::string lock_input(const std::string& cookie, std::uint64_t duration_ns) {
  constexpr std::uint64_t kExclusive = 1;
  constexpr std::uint64_t kMayRenew = LIBRADOS_LOCK_FLAG_MAY_RENEW;
  Encoder body;
  body.text(kLockName);
  body.number(kExclusive, 1);
  body.text(cookie);
  body.text("");  // tag
  body.text("");  // description
  body.number(duration_ns / kSecond, 4);
  body.number(duration_ns % kSecond, 4);
  body.number(kMayRenew, 1);
  Encoder whole;
  whole.number(1, 1);  // version, and the oldest that understands it
  whole.number(1, 1);
  whole.text(body.bytes());
  return whole.bytes();
}

void set_attribute(const RadosPool& pool, const RadosWrite& write, const char* name,
                   const std::string& value) {
  pool.api().rados_write_op_setxattr(write.op(), name, value.data(), value.size());
}

void expect_session(const RadosPool& pool, const RadosWrite& write, const std::string& id) {
  pool.api().rados_write_op_assert_exists(write.op());
  pool.api().rados_write_op_cmpxattr(write.op(), kSessionAttribute, LIBRADOS_CMPXATTR_OP_EQ,
                                     id.data(), id.size());
}

}  // namespace

std::string hexadecimal(std::uint64_t value) {
  std::string text(16, '0');
  for (int i = 15; i >= 0; --i, value >>= 4)
    text[static_cast<std::size_t>(i)] = "0123456789abcdef"[value & 15];
  return text;
}

void add_lock(const RadosPool& pool, const RadosWrite& write, const std::string& cookie,
              std::uint64_t duration_ns) {
  const std::string input = lock_input(cookie, duration_ns);
  pool.api().rados_write_op_exec(write.op(), "lock", "lock", input.data(), input.size(), nullptr);
}

void begin_session(const RadosPool& pool, const RadosWrite& write, const std::string& id,
                   const std::string& owner, std::uint64_t duration_ns) {
  pool.api().rados_write_op_create(write.op(), LIBRADOS_CREATE_EXCLUSIVE, nullptr);
  set_attribute(pool, write, kSessionAttribute, id);
  set_attribute(pool, write, kOwnerAttribute, owner);
  add_lock(pool, write, id, duration_ns);
}

void renew_session(const RadosPool& pool, const RadosWrite& write, const std::string& id,
                   std::uint64_t duration_ns) {
  expect_session(pool, write, id);
  add_lock(pool, write, id, duration_ns);
}

int unlock_session(const RadosPool& pool, const std::string& header, const std::string& id) {
  return -pool.api().rados_unlock(pool.io(), header.c_str(), kLockName, id.c_str());
}

void condemn_session(const RadosPool& pool, const RadosWrite& write, const std::string& cookie) {
  pool.api().rados_write_op_create(write.op(), LIBRADOS_CREATE_IDEMPOTENT, nullptr);
  add_lock(pool, write, cookie, kRemovalLease);
  set_attribute(pool, write, kSessionAttribute, kBeingRemoved);
}

void end_session(const RadosPool& pool, const RadosWrite& write, const std::string& id) {
  expect_session(pool, write, id);
  pool.api().rados_write_op_remove(write.op());
}

}  // namespace holdfast::sys::real
