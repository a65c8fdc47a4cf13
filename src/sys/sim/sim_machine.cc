#include "sys/sim/sim_machine.h"

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>

#include "sys/sim/sim_async.h"
#include "sys/sim/sim_faults.h"
#include "sys/sim/sim_file.h"
#include "sys/sim/sim_object_store.h"

namespace holdfast::sys {
namespace {

class SimThread final : public Thread {
 public:
  SimThread(SimScheduler& scheduler, SimThreadState& state) noexcept
      : scheduler_(scheduler), state_(state) {}
  ~SimThread() override { HF_CHECK(joined_); }
  SimThread(const SimThread&) = delete;
  SimThread& operator=(const SimThread&) = delete;
  void join() noexcept override {
    HF_CHECK(!joined_);
    joined_ = true;
    scheduler_.join(state_);
  }

 private:
  SimScheduler& scheduler_;
  SimThreadState& state_;
  bool joined_ = false;
};

}  // namespace

SimMachine::SimMachine(const SimOptions& options) : core_(std::make_unique<SimCore>(options)) {}

SimMachine::~SimMachine() { set_interrupt_handler(nullptr); }

// --- running ---

RunOutcome SimMachine::run(std::function<void()> main) {
  spawn("main", std::move(main));
  return core_->scheduler.run();
}

SimThreadState& SimMachine::spawn(const char* name, std::function<void()> function) {
  SimThreadState& thread = core_->scheduler.spawn(name, std::move(function), Signals::allowed);
  core_->scheduler.point();
  return thread;
}

std::string SimMachine::report() const {
  std::string text = core_->scheduler.report();
  if (text.empty()) text = "last events:\n" + core_->trace.tail(48);
  for (const std::string& line : lines_) text += "  printed: " + line + "\n";
  return text;
}

// --- loads and stores ---

bool SimMachine::load(Address from, void* to, std::size_t size) noexcept {
  return access_all(from, static_cast<std::byte*>(to), size, Access::read);
}

bool SimMachine::store(Address to, const void* from, std::size_t size) noexcept {
  // access() only reads through the pointer when it stores.
  return access_all(to, const_cast<std::byte*>(static_cast<const std::byte*>(from)), size,
                    Access::write);
}

bool SimMachine::access_all(Address address, std::byte* host, std::size_t size,
                            Access kind) noexcept {
  for (std::size_t done = 0; done < size;) {
    const std::size_t rest = kPageSize - ((address + done) & (kPageSize - 1));
    const std::size_t piece = std::min(rest, size - done);
    if (access(address + done, host + done, piece, kind) == Piece::fatal) return false;
    done += piece;
  }
  return true;
}

// One page's part. Between finding the page and touching its bytes nobody else runs: as on the real
// machine, a store lands before the page leaves, or faults after it.
SimMachine::Piece SimMachine::access(Address address, void* host, std::size_t size,
                                     Access kind) noexcept {
  HF_CHECK2(core_->memory.purpose_of(address) == Purpose::region, address, size);
  core_->scheduler.point();
  std::byte* page = core_->memory.find(address);
  const auto refused = [&] { return kind == Access::write && core_->memory.is_protected(address); };
  for (bool again = false; page == nullptr || refused(); again = true) {
    const auto* range = core_->registered.find(address);
    if (range == nullptr) {  // plain anonymous memory
      page = core_->memory.add(address & ~(kPageSize - 1), nullptr);
      ++core_->stats.zero_pages;
      break;
    }
    core_->stats.faults_again += again ? 1 : 0;
    const FaultOutcome outcome = range->value->deliver(address, kind);
    if (outcome != FaultOutcome::served) {
      ++core_->stats.faults_fatal;
      return Piece::fatal;
    }
    core_->scheduler.point();
    page = core_->memory.find(address);
  }
  std::byte* bytes = page + (address & (kPageSize - 1));
  const bool reads = kind == Access::read;
  std::memcpy(reads ? host : bytes, reads ? bytes : host, size);
  ++(reads ? core_->stats.loads : core_->stats.stores);
  core_->scheduler.note(reads ? SimEvent::load : SimEvent::store, address, size);
  return Piece::done;
}

// --- Machine: memory ---

Expected<Address> SimMachine::reserve(std::uint64_t bytes, std::uint64_t align,
                                      Purpose purpose) noexcept {
  core_->scheduler.point();
  const bool fails = core_->failures.hit(FailureKind::reserve);
  const Address address = fails ? 0 : core_->memory.reserve(bytes, align, purpose);
  core_->scheduler.note(SimEvent::reserve, bytes, static_cast<std::uint64_t>(purpose));
  if (address != 0) return address;
  return fail({.code = Errc::out_of_memory,
               .os_errno = ENOMEM,
               .doing = "reserve address space",
               .what = "bytes",
               .value = bytes});
}

int SimMachine::release(Address address, std::uint64_t bytes) noexcept {
  core_->scheduler.point();
  core_->scheduler.note(SimEvent::release, bytes, 0);
  core_->memory.release(address, bytes);
  core_->registered.cut(address, address + bytes);
  return 0;
}

int SimMachine::discard(Address address, std::uint64_t bytes) noexcept {
  core_->scheduler.point();
  if (core_->failures.hit(FailureKind::discard)) return ENOMEM;
  const std::uint64_t dropped = core_->memory.discard(address, bytes);
  core_->stats.pages_discarded += dropped;
  core_->scheduler.note(SimEvent::discard, bytes, dropped);
  return 0;
}

int SimMachine::remap_out(Address to, Address from, std::uint64_t bytes) noexcept {
  core_->scheduler.point();
  if (core_->failures.hit(FailureKind::remap_out)) return ENOMEM;
  const std::uint64_t carried = core_->memory.remap_out(to, from, bytes);
  ++core_->stats.remap_outs;
  core_->stats.pages_remapped += carried;
  core_->scheduler.note(SimEvent::remap_out, from, carried);
  return 0;
}

std::byte* SimMachine::view(Address address) noexcept { return core_->memory.view(address); }

// --- Machine: faults, files, threads ---

Expected<std::unique_ptr<FaultSource>> SimMachine::open_faults(const FaultSourceOptions& options,
                                                               FaultSink& sink) {
  core_->scheduler.point();
  if (core_->failures.hit(FailureKind::open_faults)) {
    return fail({.code = Errc::permission,
                 .os_errno = EPERM,
                 .doing = "open userfaultfd",
                 .remedy = "this is a simulated refusal"});
  }
  if (options.delivery == Delivery::thread && core_->failures.hit(FailureKind::thread_start)) {
    return fail({.code = Errc::system, .os_errno = EAGAIN, .doing = "start the fault handler"});
  }
  return std::make_unique<SimFaultSource>(*core_, options, sink);
}

Expected<std::unique_ptr<SwapFile>> SimMachine::create_swap_file(const SwapFileOptions&) {
  core_->scheduler.point();
  if (core_->failures.hit(FailureKind::file_create)) {
    return fail({.code = Errc::system, .os_errno = ENOSPC, .doing = "make a swap file"});
  }
  return std::make_unique<SimFile>(*core_);
}

Expected<std::unique_ptr<AsyncIo>> SimMachine::open_async_io(const AsyncIoOptions&) {
  core_->scheduler.point();
  return std::make_unique<SimAsync>(*core_);
}

Expected<std::unique_ptr<ObjectStore>> SimMachine::open_object_store(
    const ObjectStoreOptions& options) {
  core_->scheduler.point();
  if (core_->failures.hit(FailureKind::object_open)) {
    return fail({.code = Errc::timed_out, .os_errno = ETIMEDOUT, .doing = "open far memory"});
  }
  if (!options.image.empty() &&
      core_->images.contains(SimObjectStore::key_of(options, options.image))) {
    return fail({.code = Errc::invalid_argument, .os_errno = EEXIST, .doing = "publish image"});
  }
  return std::make_unique<SimObjectStore>(*core_, options);
}

Expected<OpenedFarImage> SimMachine::open_far_image(const ObjectStoreOptions& options) {
  core_->scheduler.point();
  if (core_->failures.hit(FailureKind::object_open)) {
    return fail({.code = Errc::timed_out, .os_errno = ETIMEDOUT, .doing = "open far memory"});
  }
  const auto found = core_->images.find(SimObjectStore::key_of(options, options.image));
  if (found == core_->images.end()) {
    return fail({.code = Errc::not_found, .os_errno = ENOENT, .doing = "open image"});
  }
  return OpenedFarImage{.image = found->second,
                        .store = std::make_unique<SimObjectStore>(*core_, options, &found->second)};
}

Expected<std::vector<FarImage>> SimMachine::list_far_images(const ObjectStoreOptions& options) {
  core_->scheduler.point();
  std::vector<FarImage> all;
  const std::string prefix = SimObjectStore::key_of(options, "");
  for (const auto& [key, image] : core_->images) {
    if (key.starts_with(prefix)) all.push_back(image);
  }
  return all;
}

Expected<FarImage> SimMachine::remove_far_image(const ObjectStoreOptions& options) {
  core_->scheduler.point();
  const auto found = core_->images.find(SimObjectStore::key_of(options, options.image));
  if (found == core_->images.end()) {
    return fail({.code = Errc::not_found, .os_errno = ENOENT, .doing = "remove image"});
  }
  const FarImage image = found->second;
  core_->images.erase(found);
  core_->sessions.erase(image.session);
  return image;
}

int SimMachine::open_device_file(std::span<const std::byte> content) {
  auto file = std::make_unique<SimDeviceFile>();
  file->bytes.assign(content.begin(), content.end());
  core_->devices.push_back(std::move(file));
  return SimCore::kFirstDescriptor + static_cast<int>(core_->devices.size()) - 1;
}

int SimMachine::open_device_stream() {
  const int fd = open_device_file({});
  core_->device(fd)->stream = true;
  return fd;
}

void SimMachine::feed(int stream, std::span<const std::byte> bytes) {
  SimDeviceFile& file = *core_->device(stream);
  file.bytes.insert(file.bytes.end(), bytes.begin(), bytes.end());
  for (SimAsync* queue : core_->queues) queue->look_again();
}

void SimMachine::end_stream(int stream) {
  core_->device(stream)->ended = true;
  for (SimAsync* queue : core_->queues) queue->look_again();
}

std::vector<std::byte> SimMachine::device_bytes(int fd) const {
  const SimDeviceFile& file = *core_->device(fd);
  return {file.bytes.begin(), file.bytes.end()};
}

Expected<std::unique_ptr<Thread>> SimMachine::start_thread(const char* name,
                                                           void (*function)(void*),
                                                           void* argument) {
  HF_CHECK(std::strlen(name) <= 15);
  core_->scheduler.point();
  if (core_->failures.hit(FailureKind::thread_start)) {
    return fail({.code = Errc::system, .os_errno = EAGAIN, .doing = "start a thread"});
  }
  SimThreadState& state =
      core_->scheduler.spawn(name, [function, argument] { function(argument); }, Signals::blocked);
  return std::make_unique<SimThread>(core_->scheduler, state);
}

void SimMachine::print_line(const char* line) noexcept {
  constexpr std::size_t kLinesKept = 100;
  if (lines_.size() < kLinesKept) lines_.emplace_back(line);
  if (core_->options.echo) std::fprintf(stderr, "%s\n", line);
}

}  // namespace holdfast::sys
