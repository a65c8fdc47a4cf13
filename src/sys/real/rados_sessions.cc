// Sessions in a pool, looked at and removed from outside.
#include <algorithm>
#include <array>
#include <cerrno>
#include <map>

#include "sys/machine.h"
#include "sys/real/rados_images.h"
#include "sys/real/rados_lease.h"

namespace holdfast::sys {
namespace real {
namespace {

constexpr std::size_t kIdLength = 32;
constexpr const char* kEveryPrefix = "holdfast.";

Error session_error(int error, const char* doing) {
  Error e{.code = Errc::system, .os_errno = error, .doing = doing, .what = "pool"};
  if (error == EBUSY) {
    e.code = Errc::busy;
    e.what = "session";
    e.remedy = "it is alive: end its program, or wait until its lock has expired";
  }
  if (error == ENOENT) {
    e.code = Errc::not_found;
    e.what = "session";
    e.remedy = "holdfast far list names those that are there";
  }
  if (error == EPERM || error == EACCES) e.code = Errc::permission;
  if (error == ETIMEDOUT) e.code = Errc::timed_out;
  return e;
}

// The id in the name of an object of a session that begins so; empty: it is none.
std::string id_in(const std::string& name, const std::string& prefix) {
  if (!name.starts_with(prefix)) return {};
  const std::string id = name.substr(prefix.size(), kIdLength);
  const bool whole =
      id.size() == kIdLength && id.find_first_not_of("0123456789abcdef") == std::string::npos;
  return whole ? id : std::string();
}

bool is_locked(const RadosPool& pool, const std::string& header) {
  std::array<std::array<char, 4096>, 4> texts;
  std::array<std::size_t, 4> lengths{4096, 4096, 4096, 4096};
  int exclusive = 0;
  const ssize_t holders = pool.api().rados_list_lockers(
      pool.io(), header.c_str(), kLockName, &exclusive, texts[0].data(), &lengths[0],
      texts[1].data(), &lengths[1], texts[2].data(), &lengths[2], texts[3].data(), &lengths[3]);
  return holders > 0 || holders == -ERANGE;
}

std::uint64_t size_of(const RadosPool& pool, const std::string& name) {
  std::uint64_t bytes = 0;
  time_t changed = 0;
  return pool.api().rados_stat(pool.io(), name.c_str(), &bytes, &changed) == 0 ? bytes : 0;
}

void add_object(const RadosPool& pool, const std::string& name,
                std::map<std::string, FarSession>& found) {
  for (const bool image : {false, true}) {
    const std::string id = id_in(name, image ? kImagePrefix : kSwapPrefix);
    if (id.empty()) continue;
    FarSession& session = found[id];
    session.id = id;
    session.image = image;
    if (name == header_of(id, image)) return;
    ++session.objects;
    session.bytes += size_of(pool, name);
  }
}

// Sessions of images that are whole are not among them. Locks are looked at before names: an image
// gets its name before it gives its lock back, so one without the one has the other.
Expected<std::vector<FarSession>> sessions(const RadosPool& pool) {
  std::vector<std::string> names;
  if (const int error = pool.list(kEveryPrefix, names); error != 0) {
    return fail(session_error(error, "list far memory"));
  }
  std::map<std::string, FarSession> found;
  for (const std::string& name : names) add_object(pool, name, found);
  for (auto& [id, session] : found) {
    session.owner = pool.attribute(header_of(id, session.image), kOwnerAttribute);
    session.alive = is_locked(pool, header_of(id, session.image));
  }
  for (const FarImage& image : TRY(named_images(pool))) {
    if (is_whole(pool, image)) {
      found.erase(image.session);
    } else if (!found.contains(image.session)) {  // nothing but its name is left
      FarSession& session = found[image.session];
      session.id = image.session;
      session.image = true;
    }
  }
  std::vector<FarSession> all;
  for (auto& [id, session] : found) all.push_back(std::move(session));
  return all;
}

Expected<FarSession> remove_session(const RadosPool& pool, const FarSession& session) {
  const std::string header = header_of(session.id, session.image);
  const RadosWrite write(pool);
  condemn_session(pool, write, "remover " + std::to_string(real_machine().random_u64()));
  if (const int error = write.run(header, kEvenIfFull); error != 0) {
    return fail(session_error(error, "remove far memory"));
  }
  // Listed again under the lock: it may have written until now.
  std::vector<std::string> names;
  int error = pool.list(header + ".", names);
  for (const FarImage& image : TRY(named_images(pool))) {
    if (image.session == session.id) names.push_back(name_object(image.name));
  }
  for (const std::string& name : names) {
    if (error == 0) error = pool.remove(name);
  }
  if (error == 0) error = pool.remove(header);
  if (error != 0) return fail(session_error(error, "remove far memory"));
  return session;
}

}  // namespace
}  // namespace real

Expected<std::vector<FarSession>> list_far_sessions(const ObjectStoreOptions& options) {
  const auto pool = TRY(real::RadosPool::open(options));
  return real::sessions(*pool);
}

Expected<FarSession> remove_far_session(const ObjectStoreOptions& options, const std::string& id) {
  const auto pool = TRY(real::RadosPool::open(options));
  const std::vector<FarSession> all = TRY(real::sessions(*pool));
  const auto session = std::ranges::find(all, id, &FarSession::id);
  if (session == all.end()) return fail(real::session_error(ENOENT, "remove far memory"));
  if (session->alive) return fail(real::session_error(EBUSY, "remove far memory"));
  return real::remove_session(*pool, *session);
}

}  // namespace holdfast::sys
