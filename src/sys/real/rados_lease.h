// The exclusive lock of a session: on its header object, renewed while the session lives.
//
// The lock is that of RADOS' own class "lock", so that `rados lock info` tells of it. Taking it,
// and looking whether the session is still what it was, is one operation on the header, done whole
// or not at all: whoever removes a dead session takes the lock and marks the header in one
// operation too, so that of a session that comes back and its remover one sees the other.
#pragma once

#include <string>

#include "sys/real/rados_pool.h"

namespace holdfast::sys::real {

inline constexpr const char* kSwapPrefix = "holdfast.swap.";
inline constexpr const char* kImagePrefix = "holdfast.image.";
inline constexpr const char* kLockName = "holdfast";
inline constexpr const char* kSessionAttribute = "session";  // its id, or that it is being removed
inline constexpr const char* kOwnerAttribute = "owner";

// The object that stands for a session: of an engine's pages, or of an image.
[[nodiscard]] inline std::string header_of(const std::string& id, bool image) {
  return (image ? kImagePrefix : kSwapPrefix) + id;
}

[[nodiscard]] std::string hexadecimal(std::uint64_t value);  // 16 digits
[[nodiscard]] inline std::string object_of(const std::string& header, std::uint64_t object) {
  return header + "." + hexadecimal(object);
}

// Adds: take the lock under that cookie, for so long, or renew it. It fails with EBUSY where
// somebody else has it.
void add_lock(const RadosPool& pool, const RadosWrite& write, const std::string& cookie,
              std::uint64_t duration_ns);

// Puts together: makes the header of a new session, locked.
void begin_session(const RadosPool& pool, const RadosWrite& write, const std::string& id,
                   const std::string& owner, std::uint64_t duration_ns);
// ... renews the lock of a session; ECANCELED, ENOENT, EBUSY: it is lost.
void renew_session(const RadosPool& pool, const RadosWrite& write, const std::string& id,
                   std::uint64_t duration_ns);
// ... takes the lock of a session that is dead, and marks it as being removed.
void condemn_session(const RadosPool& pool, const RadosWrite& write, const std::string& cookie);
// ... removes the header of a session of ours.
void end_session(const RadosPool& pool, const RadosWrite& write, const std::string& id);

// Waits: gives the lock of a session of ours back, which stays. errno.
[[nodiscard]] int unlock_session(const RadosPool& pool, const std::string& header,
                                 const std::string& id);

// Tiny writes that a full pool must not stop: without them nothing could be removed from it.
inline constexpr int kEvenIfFull = LIBRADOS_OPERATION_FULL_FORCE;

}  // namespace holdfast::sys::real
