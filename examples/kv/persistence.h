// Saving the data beside the serving, and bringing it back.
//
// A BGSAVE is a snapshot of the region, which costs a write protection and copies nothing, and a
// thread that writes it to a file while the server goes on: a page is copied when a request changes
// it before it has been saved. The file takes the place of the one before only when it is whole, so
// a server that is killed at any time finds one or the other.
//
// Restoring is lazy: the server serves at once, and pages come from the file as they are touched.
//
// Thread-safety: the server's thread alone; the saving thread is its own business.
#pragma once

#include <atomic>
#include <ctime>
#include <optional>
#include <string>
#include <thread>

#include "holdfast/holdfast.h"

namespace kv {

class Persistence {
 public:
  // directory: where the image is, "kv.image"; empty: nothing is ever saved.
  Persistence(holdfast::Engine& engine, const std::string& directory);
  // Gives up a save that is under way; the image from before stays.
  ~Persistence();
  Persistence(const Persistence&) = delete;
  Persistence& operator=(const Persistence&) = delete;

  [[nodiscard]] bool is_enabled() const { return !path_.empty(); }
  [[nodiscard]] const std::string& path() const { return path_; }

  // What the image holds; nothing, if there is none. capacity: bytes to which it may grow. Errors:
  // corrupted and the like (the image is damaged or foreign), io_error, system.
  [[nodiscard]] holdfast::Expected<std::optional<holdfast::Region>> restore(std::uint64_t capacity);

  // Begins to save the region as it is now. Errors: busy (a save is under way), unsupported (no
  // directory was given), those of Engine::snapshot.
  [[nodiscard]] holdfast::Expected<void> begin(const holdfast::Region& region);
  [[nodiscard]] bool is_saving() const { return saver_.joinable(); }
  // Can be read (poll, epoll) once the save that is under way has ended; then call finish().
  [[nodiscard]] int ended_event() const { return ended_; }
  // Waits for the end of the save that is under way, if there is one; its outcome.
  holdfast::Expected<void> finish();
  // All of it: gives up a save that is under way, begins another and waits for its end.
  [[nodiscard]] holdfast::Expected<void> save(const holdfast::Region& region);

  [[nodiscard]] std::time_t last_save() const { return last_save_; }
  [[nodiscard]] bool last_was_good() const { return last_was_good_; }
  // Of the save that ended last, seconds.
  [[nodiscard]] double last_duration() const { return last_duration_; }

 private:
  void run_saver();
  [[nodiscard]] holdfast::Expected<void> write_image();
  void give_up();

  holdfast::Engine& engine_;
  std::string path_;
  int ended_ = -1;
  std::time_t last_save_;
  double last_duration_ = 0;
  bool last_was_good_ = true;

  // The saver's, between begin() and finish().
  std::thread saver_;
  holdfast::Snapshot snapshot_;
  std::atomic<bool> give_up_ = false;
  holdfast::Expected<void> outcome_;
  double duration_ = 0;
};

}  // namespace kv
