// A store of objects in memory that does as a test says.
//
// Fault model: a write, read or removal fails with an errno and has no effect; requests are kept
// until the test lets them go, in any order; bytes change by themselves; the session's lock is
// lost.
#pragma once

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <map>
#include <mutex>
#include <random>
#include <vector>

#include "sync/sync.h"
#include "sys/sys.h"

namespace holdfast::tests {

struct ObjectScript {
  std::mutex mutex;
  std::map<std::uint64_t, std::vector<std::byte>> objects;
  int open_error = 0, write_error = 0, read_error = 0, removal_error = 0;
  bool holding = false;  // requests are kept
  bool owns = true;
  std::vector<sys::ObjectRequest*> held;
  std::uint64_t writes = 0, reads = 0, removals = 0, written_bytes = 0;

  void submit(sys::ObjectRequest& request) {
    {
      const std::lock_guard<std::mutex> guard(mutex);
      if (holding) return held.push_back(&request);
    }
    perform(request);
  }
  // Answers what was kept, in an order by chance, and keeps no more.
  void let_go(std::mt19937_64& chance) {
    std::vector<sys::ObjectRequest*> requests;
    {
      const std::lock_guard<std::mutex> guard(mutex);
      holding = false;
      requests.swap(held);
    }
    std::ranges::shuffle(requests, chance);
    for (sys::ObjectRequest* request : requests) perform(*request);
  }

 private:
  void perform(sys::ObjectRequest& request) {
    {
      const std::lock_guard<std::mutex> guard(mutex);
      request.error = outcome(request);
    }
    const sync::InterruptScope interrupt;
    request.done(request);
  }
  int outcome(sys::ObjectRequest& request) {
    const auto object = objects.find(request.object);
    switch (request.action) {
      case sys::ObjectAction::write:
        ++writes;
        if (!owns) return ESTALE;
        if (write_error != 0) return write_error;
        written_bytes += request.bytes;
        objects[request.object].assign(request.data, request.data + request.bytes);
        return 0;
      case sys::ObjectAction::remove:
        ++removals;
        if (!owns) return ESTALE;
        if (removal_error != 0) return removal_error;
        return objects.erase(request.object) == 0 ? ENOENT : 0;
      case sys::ObjectAction::read:
        ++reads;
        if (read_error != 0) return read_error;
        if (object == objects.end()) return ENOENT;
        if (request.offset + request.bytes > object->second.size()) return EIO;
        std::memcpy(request.data, object->second.data() + request.offset, request.bytes);
        return 0;
    }
    return EINVAL;
  }
};

class ScriptedStore final : public sys::ObjectStore {
 public:
  explicit ScriptedStore(ObjectScript& script) : script_(script) {}
  void submit(sys::ObjectRequest& request) noexcept override { script_.submit(request); }
  bool owns_session() const noexcept override { return script_.owns; }
  const char* description() const noexcept override { return "scripted"; }

 private:
  ObjectScript& script_;
};

}  // namespace holdfast::tests
