#include "kv/saving_server.h"

#include <fmt/format.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <thread>

#include "workload.h"

namespace holdfast::bench {
namespace {

constexpr std::uint64_t kKeysOfMset = 64;
constexpr unsigned kMsetsInFlight = 16;
constexpr int kGeneratorNice = -20;
constexpr std::chrono::milliseconds kWarmUp(300);
constexpr std::chrono::seconds kWithoutSave(2);
constexpr std::chrono::milliseconds kBetweenQuestions(5);

// "VmHWM", "VmRSS" of a process, MiB.
std::uint64_t status_mebibytes(pid_t pid, const std::string& field) {
  std::ifstream status(fmt::format("/proc/{}/status", pid));
  std::string name;
  std::uint64_t kilobytes = 0;
  while (status >> name) {
    if (name == field + ":" && status >> kilobytes) return kilobytes >> 10;
    std::getline(status, name);
  }
  return 0;
}

}  // namespace

Result<void> SavingServer::prepare() {
  dataset_.emplace(keys_, value_bytes_);
  auto server = ServerProcess::start(settings_);
  if (!server) return std::unexpected(server.error());
  server_ = std::move(*server);
  if (auto filled = fill(); !filled) return filled;
  auto generator = LoadGenerator::connect(server_->socket_path(), *dataset_);
  if (!generator) return std::unexpected(generator.error());
  generator_ = std::move(*generator);
  // One save beforehand: the image's file and all code have been used.
  auto saved = save();
  if (!saved) return std::unexpected(saved.error());
  return {};
}

Result<void> SavingServer::fill() {
  ControlClient& control = server_->control();
  std::string request;
  unsigned in_flight = 0;
  for (std::uint64_t key = 0; key < keys_; key += kKeysOfMset) {
    request.clear();
    dataset_->append_mset(request, key, std::min(kKeysOfMset, keys_ - key));
    if (auto sent = control.write(request); !sent) return sent;
    if (++in_flight < kMsetsInFlight) continue;
    if (auto done = control.reply(); !done) return std::unexpected(done.error());
    --in_flight;
  }
  for (; in_flight > 0; --in_flight) {
    if (auto done = control.reply(); !done) return std::unexpected(done.error());
  }
  auto size = control.ask("DBSIZE");
  if (!size) return std::unexpected(size.error());
  if (*size == std::to_string(keys_)) return {};
  return failure(fmt::format("the server has {} keys of {}", *size, keys_));
}

Result<double> SavingServer::round(unsigned part) {
  switch (part) {
    case kLoadedSave:
      return load(true);
    case kLoadAlone:
      return load(false);
    case kSaveAlone: {
      auto seconds = save();
      if (!seconds) return seconds;
      return double(dataset_->bytes()) / *seconds / 1e6;
    }
    default:
      break;
  }
  const Facts& facts = told_.at(next_told_[part - kToldMedian]++ % told_.size());
  if (part == kToldMedian) return facts.median;
  if (part == kToldLongest) return facts.longest;
  return part == kToldRate ? facts.rate : facts.seconds;
}

Result<double> SavingServer::save() {
  ControlClient& control = server_->control();
  const double start = now_seconds();
  if (auto begun = control.ask("BGSAVE"); !begun) return std::unexpected(begun.error());
  for (;;) {
    auto busy = control.persistence("rdb_bgsave_in_progress");
    if (!busy) return std::unexpected(busy.error());
    if (*busy == "0") break;
    std::this_thread::sleep_for(kBetweenQuestions);
  }
  const double seconds = now_seconds() - start;
  auto status = control.persistence("rdb_last_bgsave_status");
  if (!status) return std::unexpected(status.error());
  if (*status != "ok") return failure("the server could not save");
  return seconds;
}

// Beside the load, in a thread of its own: when it counts, and when it ends. Seconds that counted.
Result<double> SavingServer::steer(LoadGenerator::Steering& steering, bool with_save) {
  std::this_thread::sleep_for(kWarmUp);
  steering.record = true;
  Result<double> seconds = 0.0;
  if (with_save) {
    seconds = save();
  } else {
    std::this_thread::sleep_for(kWithoutSave);
    seconds = std::chrono::duration<double>(kWithoutSave).count();
  }
  steering.stop = true;
  return seconds;
}

Result<double> SavingServer::load(bool with_save) {
  LoadGenerator::Steering steering;
  Result<double> seconds = 0.0;
  std::thread other([&] { seconds = steer(steering, with_save); });
  // As if it had a machine of its own: what it waits for is the server, never its turn. Refused
  // where there is no privilege for it.
  (void)setpriority(PRIO_PROCESS, static_cast<id_t>(gettid()), kGeneratorNice);
  auto latencies = generator_->run(steering);
  (void)setpriority(PRIO_PROCESS, static_cast<id_t>(gettid()), 0);
  other.join();
  if (!seconds) return seconds;
  if (!latencies) return std::unexpected(latencies.error());
  const double high = quantile_us(*latencies, 0.999);
  if (!with_save) return high;
  told_.push_back({.high = high,
                   .median = quantile_us(*latencies, 0.5),
                   .longest = quantile_us(*latencies, 1),
                   .rate = double(latencies->size()) / *seconds / 1e3,
                   .seconds = *seconds});
  return high;
}

std::string SavingServer::report() {
  const bool ours = settings_.kind == ServerKind::kv;
  std::uint64_t image = 0;
  for (const auto& file : std::filesystem::directory_iterator(settings_.directory)) {
    if (file.is_regular_file()) image = std::max<std::uint64_t>(image, file.file_size());
  }
  std::string text = fmt::format(
      "{}: {} keys, {} MB of keys and values; image {} MB; resident {} MiB, at most {} MiB\n",
      ours ? "kv" : "redis-server", keys_, dataset_->bytes() / 1'000'000, image / 1'000'000,
      status_mebibytes(server_->pid(), "VmRSS"), status_mebibytes(server_->pid(), "VmHWM"));
  for (const Facts& facts : told_) {
    text += fmt::format(
        "  save of {:.2f} s under {:.0f} k SET/s: median {:.0f} us, 99.9 % {:.0f} us, longest "
        "{:.0f} us\n",
        facts.seconds, facts.rate, facts.median, facts.high, facts.longest);
  }
  return text;
}

}  // namespace holdfast::bench
