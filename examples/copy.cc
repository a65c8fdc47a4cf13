// copy: reads a file of any size into managed memory, as coroutines, and writes it from there.
//
//     copy SOURCE DESTINATION [--memory 16M] [--workers 16]
//
// Each worker is a coroutine that reads its share of the file, piece by piece, and goes on while
// the transfer is under way. Memory holds the whole file, however much more that is than the
// budget; what was read first leaves while the rest comes in. Nothing is copied on the way: the
// transfers work on the pages themselves, which are pinned as long as they last.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cerrno>
#include <coroutine>
#include <cstdio>
#include <cstring>
#include <exception>
#include <string>

#include "holdfast/holdfast.h"

namespace {

constexpr std::uint64_t kPiece = 64 << 10;

int complain(const holdfast::Error& error) {
  std::fprintf(stderr, "copy: %s\n", error.message().c_str());
  return 1;
}

int complain(const std::string& path) {
  std::fprintf(stderr, "copy: %s: %s\n", path.c_str(), std::strerror(errno));
  return 1;
}

// A coroutine that begins at once and ends by itself.
struct Worker {
  struct promise_type {
    Worker get_return_object() noexcept { return {}; }
    std::suspend_never initial_suspend() noexcept { return {}; }
    std::suspend_never final_suspend() noexcept { return {}; }
    void return_void() noexcept {}
    void unhandled_exception() noexcept { std::terminate(); }
  };
};

struct Progress {
  int working = 0;
  holdfast::Expected<void> result;  // the first error
};

// Moves pieces first, first + step, ... of the file into memory, or out of it.
Worker move_pieces(holdfast::Aio& aio, int fd, bool out, std::byte* memory, std::uint64_t bytes,
                   std::uint64_t first, std::uint64_t step, Progress& progress) {
  for (std::uint64_t at = first * kPiece; at < bytes && progress.result; at += step * kPiece) {
    const std::uint64_t end = std::min(bytes, at + kPiece);
    for (std::uint64_t done = at; done < end && progress.result;) {  // transfers may be short
      const holdfast::Buffer rest(memory + done, end - done);
      const auto moved =
          co_await aio.transfer(out ? holdfast::AioRequest::write(fd, {&rest, 1}, done)
                                    : holdfast::AioRequest::read(fd, {&rest, 1}, done));
      if (!moved) {
        progress.result = std::unexpected(moved.error());
      } else if (*moved == 0) {
        progress.result = holdfast::fail({.code = holdfast::Errc::io_error,
                                          .doing = "copy",
                                          .what = "end of file, at byte",
                                          .value = done,
                                          .limit = bytes});
      } else {
        done += *moved;
      }
    }
  }
  --progress.working;
}

holdfast::Expected<void> move_file(holdfast::Aio& aio, int fd, bool out, holdfast::Region& region,
                                   std::uint64_t bytes, int workers) {
  Progress progress;
  progress.working = workers;
  const auto step = static_cast<std::uint64_t>(workers);
  for (std::uint64_t w = 0; w < step; ++w) {
    move_pieces(aio, fd, out, region.data(), bytes, w, step, progress);
  }
  while (progress.working > 0) {  // this thread drains: the coroutines go on in poll()
    if (const auto polled = aio.poll(); !polled) return std::unexpected(polled.error());
  }
  return progress.result;
}

int run(const std::string& from, const std::string& to, std::uint64_t memory, int workers) {
  const int source = ::open(from.c_str(), O_RDONLY | O_CLOEXEC);
  struct stat status{};
  if (source < 0 || ::fstat(source, &status) != 0) return complain(from);
  const int destination = ::open(to.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  if (destination < 0) return complain(to);
  const auto bytes = static_cast<std::uint64_t>(status.st_size);

  holdfast::Options options;
  options.memory_budget = memory;
  options.swap.push_back({.kind = holdfast::SwapTier::Kind::file});  // behind compressed RAM
  auto engine = holdfast::Engine::create(options);
  if (!engine) return complain(engine.error());
  auto region = (*engine)->map_anonymous(std::max<std::uint64_t>(bytes, 1));
  if (!region) return complain(region.error());
  auto aio = holdfast::Aio::create(**engine, {.drain = holdfast::AioDrain::caller});
  if (!aio) return complain(aio.error());

  if (auto read = move_file(**aio, source, false, *region, bytes, workers); !read) {
    return complain(read.error());
  }
  if (auto written = move_file(**aio, destination, true, *region, bytes, workers); !written) {
    return complain(written.error());
  }
  auto durable = (*aio)->start(holdfast::AioRequest::sync(destination));
  if (!durable) return complain(durable.error());
  if (auto done = durable->wait(); !done) return complain(done.error());
  ::close(source);
  ::close(destination);

  const holdfast::Stats stats = (*engine)->stats();
  std::printf("copied %llu bytes through %llu MiB by %s: %llu transfers, %llu pages evicted\n",
              static_cast<unsigned long long>(bytes), static_cast<unsigned long long>(memory >> 20),
              (*aio)->backend(), static_cast<unsigned long long>((*aio)->stats().completed),
              static_cast<unsigned long long>(stats.evicted_written + stats.evicted_clean));
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  std::string from, to;
  std::uint64_t memory = 16 << 20;
  int workers = 16;
  CLI::App app("Copies a file through managed memory, by asynchronous transfers.");
  app.add_option("SOURCE", from, "the file to read")->required();
  app.add_option("DESTINATION", to, "the file to write")->required();
  app.add_option("--memory", memory, "memory budget: bytes, or with K, M or G")
      ->transform(CLI::AsSizeValue(false))
      ->default_str("16M");
  app.add_option("--workers", workers, "coroutines at work")
      ->check(CLI::Range(1, 64))
      ->capture_default_str();
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  }
  return run(from, to, memory, workers);
}
