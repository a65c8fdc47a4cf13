// What tests of asynchronous I/O on the real machine share: an engine and a queue of each kind, and
// files, pipes and sockets that close themselves.
#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <memory>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "engine/real_engine.h"
#include "holdfast/holdfast.h"

namespace holdfast::aio::test {

using namespace engine::test;  // NOLINT: the engine's own helpers, in tests

class Descriptor {
 public:
  explicit Descriptor(int fd = -1) : fd_(fd) {}
  Descriptor(Descriptor&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Descriptor& operator=(Descriptor&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  ~Descriptor() { close(); }
  void close() {
    if (fd_ >= 0) ::close(std::exchange(fd_, -1));
  }
  operator int() const { return fd_; }  // NOLINT: used as one

 private:
  int fd_;
};

// A nameless file on a disk; flags: O_DIRECT or none.
inline Descriptor make_file(int flags = 0) {
  Descriptor file(::open("/var/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC | flags, 0600));
  EXPECT_GE(int{file}, 0) << "a file in /var/tmp, errno " << errno;
  return file;
}

struct TwoEnds {
  Descriptor read, write;
};
inline TwoEnds make_pipe() {
  int fds[2] = {-1, -1};
  EXPECT_EQ(::pipe2(fds, O_CLOEXEC), 0);
  return {Descriptor(fds[0]), Descriptor(fds[1])};
}
inline TwoEnds make_sockets() {
  int fds[2] = {-1, -1};
  EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
  return {Descriptor(fds[0]), Descriptor(fds[1])};
}

// Fills pages [0, pages) of a file so that page p holds key + p.
inline void fill_file(int fd, std::uint64_t pages, std::uint64_t key) {
  void* memory = nullptr;
  ASSERT_EQ(::posix_memalign(&memory, kPageSize, kPageSize), 0);
  auto* const page = static_cast<std::byte*>(memory);
  for (std::uint64_t p = 0; p < pages; ++p) {
    write_page(page, key + p);
    ASSERT_EQ(::pwrite(fd, page, kPageSize, static_cast<off_t>(p * kPageSize)), long{kPageSize});
  }
  std::free(memory);
}

inline Buffer pages_of(const Region& region, std::uint64_t first, std::uint64_t count) {
  return {page_at(region, first), count * kPageSize};
}

inline std::unique_ptr<Aio> make_aio(Engine& engine, const AioOptions& options = {}) {
  auto aio = Aio::create(engine, options);
  if (aio) return std::move(*aio);
  ADD_FAILURE() << aio.error().message();
  return nullptr;
}

using Way = std::tuple<AioBackend, AioDrain>;

inline std::string way_name(const testing::TestParamInfo<Way>& info) {
  const auto [backend, drain] = info.param;
  return std::string(backend == AioBackend::ring ? "ring" : "threads") +
         (drain == AioDrain::thread ? "_drained_by_thread" : "_drained_by_caller");
}

inline auto all_ways() {
  return testing::Combine(testing::Values(AioBackend::ring, AioBackend::threads),
                          testing::Values(AioDrain::thread, AioDrain::caller));
}

// An engine of the least budget with a region of 1 MiB, and a queue of each kind.
class AioTest : public testing::TestWithParam<Way> {
 protected:
  void SetUp() override {
    engine = make_engine(small_options());
    ASSERT_NE(engine, nullptr);
    region = map(*engine, 256 * kPageSize);
    aio = open();
    ASSERT_NE(aio, nullptr);
  }
  void TearDown() override {
    aio.reset();
    EXPECT_EQ(engine->stats().pins, 0u) << "every transfer let go of its pages";
    EXPECT_TRUE(all_is_well(*engine));
  }
  std::unique_ptr<Aio> open(std::uint32_t queue_limit = 64) {
    const auto [backend, drain] = GetParam();
    AioOptions options;
    options.backend = backend;
    options.drain = drain;
    options.queue_limit = queue_limit;
    return make_aio(*engine, options);
  }
  Expected<std::uint64_t> run(const AioRequest& request) {
    auto future = aio->start(request);
    if (!future) return std::unexpected(future.error());
    return future->wait();
  }

  std::unique_ptr<Engine> engine;
  Region region;
  std::unique_ptr<Aio> aio;
};

}  // namespace holdfast::aio::test
