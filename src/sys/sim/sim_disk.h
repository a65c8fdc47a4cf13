// The disk of a simulated machine: files with names, and what a crash makes of them.
//
// Fault model. Names come and go durably (the real machine syncs directories). What has been
// written since a file's last sync may be lost: a crash keeps any of those writes, in any order,
// each sector of 512 bytes whole or not at all, and any of the sizes that the file has had since.
// What a sync has made durable stays. A failed write has reached any of its sectors; a failed sync
// has made nothing durable.
//
// Flow of a crash test:
//     machine.disk().record();                                // all that is there is durable
//     ... the program runs, and remembers disk.events() when something was acknowledged ...
//     for (events = 0; events <= disk.events(); ++events)
//       SimDisk::Files files = disk.after_crash(events, style, random);
//       SimMachine next(...); next.disk().put(files);         // the same files, by name and
//       identity
//       ... what does it find there? ...
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "sys/data_file.h"
#include "sys/sim/sim_random.h"

namespace holdfast::sys {

struct SimCore;

// What a crash keeps of what was not durable.
enum class CrashStyle : std::uint8_t {
  nothing,
  everything,
  prefix,     // writes in their order up to one that is torn
  scattered,  // each sector of each write or not, in any order
};
inline constexpr CrashStyle kCrashStyles[] = {CrashStyle::nothing, CrashStyle::everything,
                                              CrashStyle::prefix, CrashStyle::scattered};

class SimDisk {
 public:
  using Bytes = std::vector<std::byte>;
  using Files = std::map<std::string, Bytes>;
  static constexpr std::uint64_t kSector = 512;

  // --- for tests ---
  // From now on what happens is remembered; everything that is there now is durable.
  void record();
  [[nodiscard]] std::size_t events() const noexcept { return log_.size(); }
  // The files after a crash behind the first `events` events since record().
  // Cheapest where `events` does not fall from one call to the next.
  [[nodiscard]] Files after_crash(std::size_t events, CrashStyle style, SimRandom& random);
  void put(const Files& files);
  void put(const std::string& path, const Bytes& bytes);
  // Another file takes the name.
  void replace(const std::string& path, const Bytes& bytes);
  [[nodiscard]] bool has(const std::string& path) const { return find(path) != nullptr; }
  [[nodiscard]] Bytes bytes(const std::string& path) const;

  // --- for the machine ---
  Expected<std::unique_ptr<DataFile>> open(SimCore& core, const DataFileOptions& options);
  int remove(const std::string& path);

 private:
  friend class SimDataFile;
  struct Node {
    std::string path;
    FileIdentity identity;
    Bytes bytes;  // as it reads now
    Bytes base;   // as it was at record()
    bool claimed = false;
  };
  enum class Kind : std::uint8_t { create, remove, write, resize, sync };
  struct Event {
    Kind kind;
    std::shared_ptr<Node> node;
    std::uint64_t offset = 0;  // resize: the size
    Bytes bytes;
  };
  struct Image {  // a file while a crash state is made
    Bytes bytes;
    std::vector<std::uint64_t> sizes;  // since the last sync, that of then first
    std::vector<const Event*> pending;
  };

  // All files, as they are behind so many events.
  struct Replay {
    std::map<const Node*, Image> images;
    std::map<std::string, const Node*> names;
    std::size_t events = 0;
    bool begun = false;
  };

  [[nodiscard]] std::shared_ptr<Node> find(const std::string& path) const;
  std::shared_ptr<Node> make(const std::string& path);
  void note(Event event);
  static void write(Bytes& bytes, std::uint64_t offset, const std::byte* from, std::uint64_t count);
  static void apply(Bytes& bytes, const Event& event);
  static void settle(Image& image);
  void begin_replay();
  void replay(const Event& event);
  static Bytes crash(const Image& image, CrashStyle style, SimRandom& random);

  std::map<std::string, std::shared_ptr<Node>> names_;
  std::map<std::string, std::uint64_t> generations_;
  std::deque<Event> log_;  // pointed to by replay_
  Replay replay_;
  bool recording_ = false;
};

}  // namespace holdfast::sys
