#include "sys/sim/sim_disk.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <functional>

#include "sys/sim/sim_core.h"

namespace holdfast::sys {

// A file of the disk, open. Extents are done in an order of the seed's choosing, with other threads
// running in between.
class SimDataFile final : public DataFile {
 public:
  SimDataFile(SimCore& core, SimDisk& disk, std::shared_ptr<SimDisk::Node> node, FileUse use)
      : core_(core), disk_(disk), node_(std::move(node)), use_(use) {}
  ~SimDataFile() override {
    if (claimed_) node_->claimed = false;
  }
  SimDataFile(const SimDataFile&) = delete;
  SimDataFile& operator=(const SimDataFile&) = delete;

  void read(std::span<IoRequest> requests) noexcept override {
    transfer(requests, [this](IoRequest& request) { read_one(request); });
  }
  void write(std::span<IoRequest> requests) noexcept override {
    transfer(requests, [this](IoRequest& request) { write_one(request); });
  }
  int sync() noexcept override {
    core_.scheduler.point();
    if (core_.failures.hit(FailureKind::file_sync)) return EIO;
    disk_.note({.kind = SimDisk::Kind::sync, .node = node_, .bytes = {}});
    return 0;
  }
  int resize(std::uint64_t bytes) noexcept override {
    core_.scheduler.point();
    if (use_ == FileUse::read) return EBADF;
    if (bytes > node_->bytes.size() && core_.failures.hit(FailureKind::file_full)) return ENOSPC;
    disk_.note({.kind = SimDisk::Kind::resize, .node = node_, .offset = bytes, .bytes = {}});
    node_->bytes.resize(bytes);
    return 0;
  }
  int size(std::uint64_t& bytes) const noexcept override {
    bytes = node_->bytes.size();
    return 0;
  }
  const FileIdentity& identity() const noexcept override { return node_->identity; }
  const std::string& path() const noexcept override { return node_->path; }
  int try_claim() noexcept override {
    if (node_->claimed && !claimed_) return EWOULDBLOCK;
    node_->claimed = claimed_ = true;
    return 0;
  }

 private:
  template <class Step>
  void transfer(std::span<IoRequest> requests, Step step) noexcept {
    core_.scheduler.point();
    core_.stats.in_flight_max = std::max<std::uint64_t>(core_.stats.in_flight_max, requests.size());
    std::vector<std::size_t> order(requests.size());
    for (std::size_t i = 0; i < order.size(); ++i) order[i] = i;
    for (std::size_t i = order.size(); i > 1; --i) {
      std::swap(order[i - 1], order[core_.random.below(i)]);
    }
    for (const std::size_t i : order) {
      core_.scheduler.point();
      take_time();
      step(requests[i]);
    }
  }

  void take_time() noexcept {
    const std::uint64_t most = core_.options.data_latency_ns_max;
    if (most == 0 || core_.scheduler.current() == nullptr) return;
    core_.scheduler.sleep_ns(core_.random.between(1, most));
  }

  void read_one(IoRequest& request) noexcept {
    ++core_.stats.extents_read;
    request.error = core_.failures.hit(FailureKind::file_read) ? EIO : 0;
    const std::uint64_t end = request.offset + request.bytes;
    if (end > node_->bytes.size()) request.error = EIO;
    if (request.error != 0) {
      std::memset(request.data, 0xE1, request.bytes);
    } else {
      std::memcpy(request.data, node_->bytes.data() + request.offset, request.bytes);
    }
  }

  void write_one(IoRequest& request) noexcept {
    ++core_.stats.extents_written;
    if (use_ == FileUse::read) {
      request.error = EBADF;
      return;
    }
    if (core_.failures.hit(FailureKind::file_full)) {
      request.error = ENOSPC;
      return;
    }
    if (!core_.failures.hit(FailureKind::file_write)) {
      request.error = 0;
      put(request.offset, request.data, request.bytes);
      return;
    }
    request.error = EIO;  // which of its sectors it has reached nobody knows
    for (std::uint64_t done = 0; done < request.bytes;) {
      const std::uint64_t at = request.offset + done;
      const std::uint64_t most = SimDisk::kSector - at % SimDisk::kSector;
      const std::uint64_t count = std::min(most, request.bytes - done);
      if (core_.random.chance(1, 2)) put(at, request.data + done, count);
      done += count;
    }
  }

  void put(std::uint64_t offset, const std::byte* from, std::uint64_t count) noexcept {
    disk_.note({.kind = SimDisk::Kind::write,
                .node = node_,
                .offset = offset,
                .bytes = SimDisk::Bytes(from, from + count)});
    SimDisk::write(node_->bytes, offset, from, count);
  }

  SimCore& core_;
  SimDisk& disk_;
  const std::shared_ptr<SimDisk::Node> node_;
  const FileUse use_;
  bool claimed_ = false;
};

void SimDisk::record() {
  replay_ = {};
  log_.clear();
  recording_ = true;
  for (auto& [path, node] : names_) node->base = node->bytes;
}

void SimDisk::note(Event event) {
  if (recording_) {
    log_.push_back(std::move(event));
  } else {
    replay_ = {};
  }
}

void SimDisk::write(Bytes& bytes, std::uint64_t offset, const std::byte* from,
                    std::uint64_t count) {
  if (bytes.size() < offset + count) bytes.resize(offset + count);
  std::memcpy(bytes.data() + offset, from, count);
}

void SimDisk::apply(Bytes& bytes, const Event& event) {
  if (event.kind == Kind::resize) {
    bytes.resize(event.offset);
  } else {
    write(bytes, event.offset, event.bytes.data(), event.bytes.size());
  }
}

// All that is pending becomes durable.
void SimDisk::settle(Image& image) {
  for (const Event* event : image.pending) apply(image.bytes, *event);
  image.pending.clear();
  image.sizes.assign(1, image.bytes.size());
}

// Every file that was there at record(), whatever has become of it.
void SimDisk::begin_replay() {
  replay_ = {.images = {}, .names = {}, .events = 0, .begun = true};
  std::map<const Node*, bool> made;  // since record()
  for (const Event& event : log_) made[event.node.get()] |= event.kind == Kind::create;
  const auto start = [&](const Node& node) {
    if (made[&node] || replay_.images.contains(&node)) return;
    replay_.images[&node] = {.bytes = node.base, .sizes = {node.base.size()}, .pending = {}};
    replay_.names[node.path] = &node;
  };
  for (const Event& event : log_) start(*event.node);
  for (const auto& [path, node] : names_) start(*node);
}

void SimDisk::replay(const Event& event) {
  const Node& node = *event.node;
  Image& image = replay_.images[&node];
  switch (event.kind) {
    case Kind::create:
      image = {.bytes = node.base, .sizes = {node.base.size()}, .pending = {}};
      replay_.names[node.path] = &node;
      break;
    case Kind::remove:
      replay_.names.erase(node.path);
      break;
    case Kind::sync:
      settle(image);
      break;
    default:
      image.pending.push_back(&event);
      break;
  }
}

SimDisk::Files SimDisk::after_crash(std::size_t events, CrashStyle style, SimRandom& random) {
  events = std::min(events, log_.size());
  if (!replay_.begun || events < replay_.events) begin_replay();
  while (replay_.events < events) replay(log_[replay_.events++]);
  Files files;
  for (const auto& [path, node] : replay_.names) {
    files[path] = crash(replay_.images[node], style, random);
  }
  return files;
}

SimDisk::Bytes SimDisk::crash(const Image& image, CrashStyle style, SimRandom& random) {
  Bytes bytes = image.bytes;
  if (style == CrashStyle::nothing || image.pending.empty()) return bytes;
  std::vector<const Event*> order = image.pending;
  std::size_t whole = order.size();  // so many are applied whole, then
  std::size_t torn = 0;              // so many in part
  if (style == CrashStyle::prefix) {
    whole = random.below(order.size() + 1);
    torn = whole < order.size() ? 1 : 0;
  } else if (style == CrashStyle::scattered) {
    for (std::size_t i = order.size(); i > 1; --i) {
      std::swap(order[i - 1], order[random.below(i)]);
    }
    whole = 0;
    torn = order.size();
  }
  // Sizes go their own way: any that the file has had.
  std::vector<std::uint64_t> sizes{bytes.size()};
  std::uint64_t size = bytes.size();
  for (std::size_t i = 0; i < image.pending.size(); ++i) {
    if (style != CrashStyle::scattered && i >= whole + torn) break;
    const Event& event = *image.pending[i];
    size = event.kind == Kind::resize ? event.offset
                                      : std::max(size, event.offset + event.bytes.size());
    sizes.push_back(size);
  }
  for (std::size_t i = 0; i < whole; ++i) apply(bytes, *order[i]);
  for (std::size_t i = whole; i < whole + torn; ++i) {
    const Event& event = *order[i];
    if (event.kind != Kind::write) continue;
    for (std::uint64_t done = 0; done < event.bytes.size();) {
      const std::uint64_t at = event.offset + done;
      const std::uint64_t count =
          std::min<std::uint64_t>(kSector - at % kSector, event.bytes.size() - done);
      if (random.chance(1, 2)) write(bytes, at, event.bytes.data() + done, count);
      done += count;
    }
  }
  const bool last = style == CrashStyle::everything || random.chance(1, 2);
  bytes.resize(last ? sizes.back() : sizes[random.below(sizes.size())]);
  return bytes;
}

std::shared_ptr<SimDisk::Node> SimDisk::find(const std::string& path) const {
  const auto found = names_.find(path);
  return found == names_.end() ? nullptr : found->second;
}

std::shared_ptr<SimDisk::Node> SimDisk::make(const std::string& path) {
  auto node = std::make_shared<Node>();
  node->path = path;
  // The same on every machine, so that what a crash has left is the same file.
  node->identity = {
      .device = 1, .inode = std::hash<std::string>{}(path), .born_ns = ++generations_[path]};
  names_[path] = node;
  return node;
}

void SimDisk::put(const Files& files) {
  for (const auto& [path, bytes] : files) put(path, bytes);
}

void SimDisk::put(const std::string& path, const Bytes& bytes) {
  replay_ = {};
  auto node = find(path);
  if (node == nullptr) node = make(path);
  node->bytes = node->base = bytes;
}

void SimDisk::replace(const std::string& path, const Bytes& bytes) {
  names_.erase(path);
  put(path, bytes);
}

SimDisk::Bytes SimDisk::bytes(const std::string& path) const {
  const auto node = find(path);
  return node == nullptr ? Bytes() : node->bytes;
}

Expected<std::unique_ptr<DataFile>> SimDisk::open(SimCore& core, const DataFileOptions& options) {
  auto node = find(options.path);
  if (node == nullptr && options.create) {
    if (core.failures.hit(FailureKind::file_create)) {
      return fail({.code = Errc::system, .os_errno = ENOSPC, .doing = "open file"});
    }
    node = make(options.path);
    note({.kind = Kind::create, .node = node, .bytes = {}});
  }
  if (node == nullptr) {
    return fail({.code = Errc::not_found, .os_errno = ENOENT, .doing = "open file"});
  }
  return std::unique_ptr<DataFile>(
      std::make_unique<SimDataFile>(core, *this, std::move(node), options.use));
}

int SimDisk::remove(const std::string& path) {
  const auto node = find(path);
  if (node == nullptr) return ENOENT;
  note({.kind = Kind::remove, .node = node, .bytes = {}});
  names_.erase(path);
  return 0;
}

}  // namespace holdfast::sys
