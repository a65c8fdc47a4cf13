#include "persistence.h"

#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <utility>

namespace kv {
namespace {

// Who serves goes first where CPUs are scarce: the saver takes one CPU at most, and what is left of
// it. It is not idle priority, which others could keep from ever ending.
constexpr int kSaverNice = 19;
constexpr std::uint32_t kSaverThreads = 1;

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

}  // namespace

Persistence::Persistence(holdfast::Engine& engine, const std::string& directory)
    : engine_(engine),
      path_(directory.empty() ? "" : directory + "/kv.image"),
      ended_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)),
      last_save_(std::time(nullptr)) {}

Persistence::~Persistence() {
  give_up();
  close(ended_);
}

holdfast::Expected<std::optional<holdfast::Region>> Persistence::restore(std::uint64_t capacity) {
  struct stat status;
  if (!is_enabled() || (stat(path_.c_str(), &status) != 0 && errno == ENOENT)) return std::nullopt;
  auto image = holdfast::Image::open(path_);
  if (!image) return holdfast::fail(image.error());
  holdfast::RestoreOptions options;
  options.capacity = std::max(capacity, image->info().region_bytes.front());
  auto region = holdfast::restore(engine_, *image, options);
  if (!region) return holdfast::fail(region.error());
  last_save_ = status.st_mtime;
  return std::move(*region);
}

holdfast::Expected<void> Persistence::begin(const holdfast::Region& region) {
  if (!is_enabled()) {
    return holdfast::fail({.code = holdfast::Errc::unsupported,
                           .doing = "save",
                           .what = "directories given",
                           .remedy = "start with --dir DIR"});
  }
  if (is_saving()) {
    return holdfast::fail(
        {.code = holdfast::Errc::busy, .doing = "save", .what = "saves under way", .value = 1});
  }
  auto snapshot = engine_.snapshot(region);
  if (!snapshot) return holdfast::fail(snapshot.error());
  snapshot_ = std::move(*snapshot);
  give_up_ = false;
  saver_ = std::thread(&Persistence::run_saver, this);
  return {};
}

void Persistence::run_saver() {
  (void)setpriority(PRIO_PROCESS, static_cast<id_t>(gettid()), kSaverNice);  // of this thread alone
  const auto start = std::chrono::steady_clock::now();
  outcome_ = write_image();
  (void)snapshot_.drop();
  duration_ = seconds_since(start);
  eventfd_write(ended_, 1);
}

holdfast::Expected<void> Persistence::write_image() {
  holdfast::SaveOptions options;
  options.progress = [](const holdfast::ImageProgress&, void* self) {
    return !static_cast<Persistence*>(self)->give_up_.load();
  };
  options.progress_context = this;
  options.threads = kSaverThreads;
  const auto saved = holdfast::save_to(snapshot_, path_, options);
  if (!saved) return holdfast::fail(saved.error());
  return {};
}

holdfast::Expected<void> Persistence::finish() {
  if (!is_saving()) return {};
  saver_.join();
  eventfd_t count = 0;
  eventfd_read(ended_, &count);
  last_was_good_ = outcome_.has_value();
  last_duration_ = duration_;
  if (last_was_good_) last_save_ = std::time(nullptr);
  return outcome_;
}

holdfast::Expected<void> Persistence::save(const holdfast::Region& region) {
  give_up();
  if (auto begun = begin(region); !begun) return begun;
  return finish();
}

void Persistence::give_up() {
  give_up_ = true;
  (void)finish();
}

}  // namespace kv
