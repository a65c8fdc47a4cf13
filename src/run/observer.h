// Whoever looks at a run while it goes on: takes samples and maps for the report, draws the status
// line, tells of programs that are not managed. Changes nothing.
//
// A thread of its own, so that nobody waits for it but for a moment; what it costs is bounded: a
// hundred looks a second, and maps for at most a fiftieth of the time.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "run/balancer.h"
#include "run/client.h"
#include "run/history.h"
#include "run/memory_map.h"
#include "run/registry.h"
#include "run/report.h"
#include "run/run.h"
#include "run/status_line.h"
#include "run/unmanaged.h"

namespace holdfast::run {

class Observer {
 public:
  // `status_rows`: where it keeps how many rows the terminal has while the lowest is taken.
  Observer(Parts& parts, const Balancer& balancer, const RunOptions& options, std::string pager,
           std::atomic<unsigned>& status_rows);
  ~Observer() { stop(); }
  Observer(const Observer&) = delete;
  Observer& operator=(const Observer&) = delete;

  // Before the program is started.
  void look_ahead() { unmanaged_.look_ahead(options_.command.front()); }
  // Starts the looking. / Ends it, and takes the line off the terminal.
  Expected<void> start();
  void stop();
  // What there is to report, but for the outcome; when it has been stopped.
  [[nodiscard]] Report report() const;

 private:
  static void main(void* self);
  void run();
  void look();
  [[nodiscard]] std::uint64_t time_ns() const noexcept { return parts_.machine.now_ns() - begun_; }
  [[nodiscard]] Sample sample(std::uint64_t time, std::uint64_t resident_pages);
  void show(const Sample& now);
  void take_map(std::uint64_t time, std::uint64_t wanted);
  void keep(MemoryMap map);

  Parts& parts_;
  const Balancer& balancer_;
  const RunOptions& options_;
  const std::uint64_t begun_;
  std::uint64_t out_pages_ = 0;
  std::uint64_t peak_wanted_ = 0;
  std::uint64_t peak_stored_pages_ = 0;
  std::uint64_t peak_image_bytes_ = 0;
  History history_;
  std::vector<MemoryMap> maps_;
  std::uint64_t map_interval_ns_;
  std::uint64_t next_map_ns_ = 0;
  std::optional<StatusLine> line_;
  Sample shown_;  // what the rates on the line are since
  Unmanaged unmanaged_;
  std::uint64_t next_look_ns_ = 0;  // for those
  int stop_fd_ = -1;
  std::unique_ptr<sys::Thread> thread_;
};

}  // namespace holdfast::run
