// lookups: looks up random rows of a file that is larger than memory, first by plain loads, then by
// coroutines that ask for their page and let others go on until it is there.
//
//     lookups FILE [--memory 64M] [--count 10000] [--at-once 32] [--make 256M]
//
// A plain load waits for the disk, one page after another. Of the coroutines as many pages are on
// their way as there are coroutines.
#include <CLI/CLI.hpp>
#include <atomic>
#include <chrono>
#include <coroutine>
#include <cstdio>
#include <exception>
#include <optional>
#include <random>
#include <string>

#include "holdfast/holdfast.h"

namespace {

using Clock = std::chrono::steady_clock;

struct Request {
  std::string file;
  std::uint64_t memory = 64 << 20;
  std::uint64_t count = 10'000;
  unsigned at_once = 32;
  std::uint64_t make = 0;  // bytes
};

int complain(const holdfast::Error& error) {
  std::fprintf(stderr, "lookups: %s\n", error.message().c_str());
  return 1;
}

std::uint64_t value_of(std::uint64_t row) { return row * 0x9e3779b97f4a7c15 + 1; }

// Rows of a file that --make has made: numbers that can be told from their place.
class Table {
 public:
  explicit Table(const holdfast::FileMapping& file) : file_(file) {}

  [[nodiscard]] std::uint64_t rows() const { return file_.size() / sizeof(std::uint64_t); }
  [[nodiscard]] bool is_right(std::uint64_t row) const {
    return reinterpret_cast<const std::uint64_t*>(file_.data())[row] == value_of(row);
  }
  // co_await it before the row is looked at.
  [[nodiscard]] holdfast::Ready ready(std::uint64_t row) const {
    return file_.ready(row * sizeof(std::uint64_t), sizeof(std::uint64_t));
  }

 private:
  const holdfast::FileMapping& file_;
};

// A coroutine that begins at once and ends by itself.
struct Task {
  struct promise_type {
    Task get_return_object() noexcept { return {}; }
    std::suspend_never initial_suspend() noexcept { return {}; }
    std::suspend_never final_suspend() noexcept { return {}; }
    void return_void() noexcept {}
    void unhandled_exception() noexcept { std::terminate(); }
  };
};

// What the coroutines share. They may begin on two threads, this one and the engine's.
struct Work {
  const Table& table;
  const std::uint64_t count;
  std::atomic<std::uint64_t> taken{0}, right{0};
  std::atomic<unsigned> running{0};
  std::atomic<const char*> trouble{nullptr};
};

Task look_up(Work& work, std::uint64_t seed) {
  std::mt19937_64 chance(seed);
  while (work.taken++ < work.count) {
    const std::uint64_t row = chance() % work.table.rows();
    const auto there = co_await work.table.ready(row);
    if (!there) {
      work.trouble = holdfast::name(there.error().code);
      break;
    }
    if (work.table.is_right(row)) ++work.right;
  }
  --work.running;
  work.running.notify_all();
}

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

bool report(const char* how, const Request& request, std::uint64_t right, double seconds) {
  std::printf("%s: %llu lookups, %.1f us each, %s\n", how,
              static_cast<unsigned long long>(request.count),
              seconds * 1e6 / static_cast<double>(request.count),
              right == request.count ? "right" : "WRONG");
  return right == request.count;
}

bool by_loads(const Table& table, const Request& request) {
  std::mt19937_64 chance(request.at_once);
  std::uint64_t right = 0;
  const auto start = Clock::now();
  for (std::uint64_t i = 0; i < request.count; ++i) {
    right += table.is_right(chance() % table.rows()) ? 1 : 0;
  }
  return report("by loads", request, right, seconds_since(start));
}

bool by_coroutines(const Table& table, const Request& request) {
  Work work{.table = table, .count = request.count};
  work.running = request.at_once;
  const auto start = Clock::now();
  for (unsigned i = 0; i < request.at_once; ++i) look_up(work, i);
  for (unsigned now = work.running; now != 0; now = work.running) work.running.wait(now);
  const double seconds = seconds_since(start);
  if (work.trouble != nullptr) std::fprintf(stderr, "lookups: %s\n", work.trouble.load());
  return report("by coroutines", request, work.right, seconds);
}

holdfast::Expected<void> make_table(holdfast::Engine& engine, const Request& request) {
  auto file = holdfast::map_file(engine, request.file, {.create = true, .at_least = request.make});
  if (!file) return std::unexpected(file.error());
  auto* const rows = reinterpret_cast<std::uint64_t*>(file->data());
  for (std::uint64_t row = 0; row < file->size() / sizeof *rows; ++row) rows[row] = value_of(row);
  return file->sync();
}

int run(const Request& request) {
  holdfast::Options options;
  options.memory_budget = request.memory;
  auto engine = holdfast::Engine::create(options);
  if (!engine) return complain(engine.error());
  if (request.make != 0) {
    if (auto made = make_table(**engine, request); !made) return complain(made.error());
  }
  bool right = true;
  for (auto* const way : {&by_loads, &by_coroutines}) {  // each with nothing of it in memory
    auto file = holdfast::map_file(**engine, request.file, {.mode = holdfast::FileMode::read_only});
    if (!file) return complain(file.error());
    if (auto told = file->advise(0, file->size(), holdfast::Advice::random); !told) {
      return complain(told.error());
    }
    right = way(Table(*file), request) && right;
  }
  return right ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("Looks up random rows of a file, by loads and by coroutines.", "lookups");
  Request request;
  app.add_option("FILE", request.file, "the rows, 8 bytes each, as --make makes them")->required();
  app.add_option("--memory", request.memory, "memory budget, bytes")
      ->transform(CLI::AsSizeValue(false))
      ->capture_default_str();
  app.add_option("--count", request.count, "how many lookups, each way")
      ->check(CLI::Range(1, 1'000'000'000))
      ->capture_default_str();
  app.add_option("--at-once", request.at_once, "how many coroutines")
      ->check(CLI::Range(1, 10'000))
      ->capture_default_str();
  app.add_option("--make", request.make, "make it first, so long, bytes")
      ->transform(CLI::AsSizeValue(false));
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  }
  return run(request);
}
