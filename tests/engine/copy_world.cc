#include "engine/copy_world.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <thread>
#include <utility>
#include <vector>

#include "holdfast/context.h"

namespace holdfast::engine::test {
namespace {

constexpr std::size_t kWord = sizeof(std::uint64_t);

class RealWorld final : public CopyWorld {
 public:
  RealWorld() : CopyWorld(sys::real_machine(), [] { std::this_thread::yield(); }) {}
  ~RealWorld() override {
    for (const int fd : open_) ::close(fd);
  }
  void play(const std::function<void()>& story) override { story(); }

  bool load(const std::byte* from, PageBytes& to) override {
    for (std::size_t at = 0; at < kPageSize; at += kWord) {
      const std::uint64_t word = *reinterpret_cast<const volatile std::uint64_t*>(from + at);
      std::memcpy(to.data() + at, &word, kWord);
    }
    return true;
  }
  bool store(std::byte* to, std::span<const std::byte> bytes) override {
    for (std::size_t at = 0; at < bytes.size(); at += kWord) {
      std::uint64_t word = 0;
      std::memcpy(&word, bytes.data() + at, kWord);
      *reinterpret_cast<volatile std::uint64_t*>(to + at) = word;
    }
    return true;
  }
  // The kernel's own store: a plain one would end the program.
  bool refuses_store(const std::byte* to) override {
    const int stream = make_stream();
    feed(stream, std::array<std::byte, kWord>{});
    return ::read(stream, const_cast<std::byte*>(to), kWord) < 0 && errno == EFAULT;
  }
  void in_signal_handler(const std::function<void()>& fn) override {
    static const std::function<void()>* handled = nullptr;
    handled = &fn;
    struct sigaction action{}, before{};
    action.sa_handler = [](int) {
      const InterruptScope interrupt;
      (*std::exchange(handled, nullptr))();
    };
    EXPECT_EQ(sigaction(SIGUSR1, &action, &before), 0);
    EXPECT_EQ(raise(SIGUSR1), 0);
    EXPECT_EQ(sigaction(SIGUSR1, &before, nullptr), 0);
    EXPECT_EQ(handled, nullptr);
  }
  void wait_until(const std::function<bool()>& true_now) override {
    while (!true_now()) std::this_thread::yield();
  }

  int make_file(std::span<const std::byte> content) override {
    const int file = keep(::open("/var/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600));
    EXPECT_EQ(::pwrite(file, content.data(), content.size(), 0), ssize_t(content.size()));
    // Directly, where the file system can, in pieces of half a page.
    alignas(kPageSize) PageBytes half;
    if (::fcntl(file, F_SETFL, O_DIRECT) == 0 &&
        ::pread(file, half.data(), kPageSize / 2, kPageSize / 2) < 0) {
      EXPECT_EQ(::fcntl(file, F_SETFL, 0), 0);
    }
    return file;
  }
  void read_file(int file, std::uint64_t offset, PageBytes& to) override {
    alignas(kPageSize) PageBytes page;
    EXPECT_EQ(::pread(file, page.data(), kPageSize, off_t(offset)), ssize_t{kPageSize});
    to = page;
  }
  int make_stream() override {
    int ends[2] = {-1, -1};
    EXPECT_EQ(::pipe2(ends, O_CLOEXEC), 0);
    write_ends_.push_back({keep(ends[0]), keep(ends[1])});
    return ends[0];
  }
  void feed(int stream, std::span<const std::byte> bytes) override {
    const auto ends = std::ranges::find(write_ends_, stream, &Ends::read);
    EXPECT_EQ(::write(ends->write, bytes.data(), bytes.size()), ssize_t(bytes.size()));
  }

 private:
  struct Ends {
    int read, write;
  };
  int keep(int fd) {
    EXPECT_GE(fd, 0) << "errno " << errno;
    return open_.emplace_back(fd);
  }
  std::vector<int> open_;
  std::vector<Ends> write_ends_;
};

// Declared before CopyWorld's machine is made of it.
struct SimulatedMachine {
  explicit SimulatedMachine(std::uint64_t seed) : simulated(options_of(seed)) {}
  static sys::SimOptions options_of(std::uint64_t seed) {
    sys::SimOptions options;
    options.seed = seed;
    options.can_move = seed % 2 == 0;
    options.interrupt_per_1024 = 64;
    return options;
  }
  sys::SimMachine simulated;
};

class SimulatedWorld final : private SimulatedMachine, public CopyWorld {
 public:
  explicit SimulatedWorld(std::uint64_t seed)
      : SimulatedMachine(seed), CopyWorld(simulated, [this] { simulated.sleep_ns(1000); }) {}

  void play(const std::function<void()>& story) override {
    const auto outcome = simulated.run([&] {
      simulated.set_interrupt_handler([this] { interrupt(); });
      story();
      simulated.set_interrupt_handler(nullptr);
    });
    EXPECT_EQ(outcome, sys::RunOutcome::finished) << simulated.report();
  }

  bool load(const std::byte* from, PageBytes& to) override {
    return simulated.load(reinterpret_cast<Address>(from), to.data(), to.size());
  }
  bool store(std::byte* to, std::span<const std::byte> bytes) override {
    return simulated.store(reinterpret_cast<Address>(to), bytes.data(), bytes.size());
  }
  bool refuses_store(const std::byte* to) override {
    return !store(const_cast<std::byte*>(to), std::array<std::byte, kWord>{});
  }
  void in_signal_handler(const std::function<void()>& fn) override {
    handled_ = &fn;
    while (handled_ != nullptr) simulated.yield();
  }
  void wait_until(const std::function<bool()>& true_now) override {
    while (!true_now()) simulated.sleep_ns(1000);
  }
  void settle() override { EXPECT_TRUE(simulated.settle()); }

  int make_file(std::span<const std::byte> content) override {
    return simulated.open_device_file(content);
  }
  void read_file(int file, std::uint64_t offset, PageBytes& to) override {
    const std::vector<std::byte> bytes = simulated.device_bytes(file);
    ASSERT_GE(bytes.size(), offset + kPageSize);
    std::copy_n(bytes.begin() + std::ptrdiff_t(offset), kPageSize, to.begin());
  }
  int make_stream() override { return simulated.open_device_stream(); }
  void feed(int stream, std::span<const std::byte> bytes) override {
    simulated.feed(stream, bytes);
  }

 private:
  void interrupt() {
    if (handled_ == nullptr) return;
    const InterruptScope scope;
    (*std::exchange(handled_, nullptr))();
  }
  const std::function<void()>* handled_ = nullptr;
};

}  // namespace

std::unique_ptr<CopyWorld> make_real_world() { return std::make_unique<RealWorld>(); }

std::unique_ptr<CopyWorld> make_simulated_world(std::uint64_t seed) {
  return std::make_unique<SimulatedWorld>(seed);
}

}  // namespace holdfast::engine::test
