// Objects in a store that is beyond this machine: numbered, written once and whole, read at any
// place, removed. Ceph's RADOS is one (sys/real/rados_store.h), the simulated machine has another.
//
// Who owns what: a store is one *session* in a pool that others use too. Its objects carry the
// session's own random id, and it holds an exclusive lock that it renews by itself; what a session
// leaves behind when its process dies is removed by remove_far_session(), and by nothing else.
// Requests belong to the caller and stay where they are until done() was called.
//
// Flow: Machine::open_object_store() -> submit() ... done() -> the destructor, with nothing in
// flight, which gives the lock back.
//
// What an errno means, in every implementation:
//   ETIMEDOUT        no answer in time. A write or removal may have happened, or happen later
//   ENOSPC, EDQUOT   the pool is full; nothing is written
//   ENOENT           read, removal: no such object; write: the pool is gone
//   ESTALE           write, removal: the session has lost its lock, for good. Nothing was done
//   EROFS            write, removal: the store is open for reading
//   EIO and others   it has failed
//
// An image is such a session too, whose objects 0, 1, ... hold its bytes: publish() gives it its
// name when all of them are there, and only then does anybody see it. It stays when its store goes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/base.h"

namespace holdfast::sys {

enum class ObjectAction : std::uint8_t { write, read, remove };

struct ObjectRequest {
  ObjectAction action = ObjectAction::read;
  std::uint64_t object = 0;   // its number; a session never uses one again for other bytes
  std::uint64_t offset = 0;   // read only
  std::byte* data = nullptr;  // read, write
  std::uint64_t bytes = 0;    // read: all of them, or EIO; write: all that the object is to hold
  int error = 0;              // out
  // Called once for each submit(), in interrupt context, in any thread, perhaps within submit().
  void (*done)(ObjectRequest&) noexcept = nullptr;
  void* context = nullptr;        // the caller's
  ObjectRequest* next = nullptr;  // the store's own until done()
};

struct ObjectStoreOptions {
  std::string pool = {};
  std::string name_space = {};     // of the pool; empty: its default one
  std::string configuration = {};  // a file; empty: where the system has it (/etc/ceph/ceph.conf)
  std::string user = "admin";
  std::string image = {};  // the name of an image; empty: the session is an engine's swapped pages
  std::uint64_t wait_ns = 60'000'000'000;   // until an operation without an answer times out
  std::uint64_t lease_ns = 60'000'000'000;  // for how long the lock is ours without being renewed
};

// An image in a store.
struct FarImage {
  std::string name;
  std::string session = {};        // whose objects they are
  std::string label = {};          // what its writer says of it: one line
  std::uint64_t object_bytes = 0;  // of each object but the last
  std::uint64_t bytes = 0;         // in all
};

class ObjectStore {
 public:
  virtual ~ObjectStore() = default;  // nothing is in flight. May wait

  // Begins the request; never waits. Async-signal-safe; several threads at once.
  virtual void submit(ObjectRequest& request) noexcept = 0;
  // False: the lock is lost for good, and writes are answered with ESTALE. Any context.
  [[nodiscard]] virtual bool owns_session() const noexcept = 0;
  // "rados, pool holdfast": for reports.
  [[nodiscard]] virtual const char* description() const noexcept = 0;

  // Gives the session, which was opened for an image, that name: from then on it is seen, whole.
  // Once, with nothing in flight; afterwards the store is good for nothing but its destructor. Task
  // context; may wait. Errors: invalid_argument with EEXIST (there is one of that name), io_error,
  // system; timed_out: it may be seen now or later, so its objects stay, and if it never is, they
  // are those of a dead session.
  [[nodiscard]] virtual Expected<void> publish(const FarImage& image) {
    (void)image;
    return fail({.code = Errc::unsupported, .doing = "publish image"});
  }
};

// An image that was opened: it is read until the store goes, however many read it.
struct OpenedFarImage {
  FarImage image;
  std::unique_ptr<ObjectStore> store;
};

// --- sessions of a pool, for whoever looks after it; task context, may wait ---

struct FarSession {
  std::string id;      // 32 hexadecimal digits
  std::string owner;   // "job on host, process 4711", as the session said; empty: not known
  bool alive = false;  // somebody holds its lock
  bool image = false;  // an image that was not finished, or not wholly removed
  std::uint64_t objects = 0;
  std::uint64_t bytes = 0;
};

// Errors: those of open_object_store().
[[nodiscard]] Expected<std::vector<FarSession>> list_far_sessions(
    const ObjectStoreOptions& options);
// Removes all objects of a session whose lock nobody holds. Errors: busy (it is alive), not_found.
[[nodiscard]] Expected<FarSession> remove_far_session(const ObjectStoreOptions& options,
                                                      const std::string& id);

}  // namespace holdfast::sys
