// File mappings on the real machine: files on its disk whose every byte says where it stands, small
// engines, and another process that looks at what is on the disk.
#pragma once

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

#include "engine/real_engine.h"
#include "support/seed.h"
#include "support/temp_directory.h"

namespace holdfast::disk::test {

using engine::test::all_is_well;
using engine::test::cannot_run;
using engine::test::kBudget;
using engine::test::kMiB;
using engine::test::make_engine;
using engine::test::push_out;
using engine::test::small_options;

using Bytes = std::vector<std::byte>;

// The byte at this place of a file that put_file() made.
inline std::byte mark(std::uint64_t offset) {
  std::uint64_t x = (offset >> 3) * 0x9e3779b97f4a7c15ULL;
  x ^= x >> 32;
  return static_cast<std::byte>(x >> (offset & 7) * 8);
}

inline Bytes marks(std::uint64_t offset, std::uint64_t bytes) {
  Bytes result(bytes);
  for (std::uint64_t i = 0; i < bytes; ++i) result[i] = mark(offset + i);
  return result;
}

inline void write_file(const std::string& path, const Bytes& bytes) {
  const int fd = ::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  ASSERT_GE(fd, 0) << std::strerror(errno);
  ASSERT_EQ(::pwrite(fd, bytes.data(), bytes.size(), 0), static_cast<ssize_t>(bytes.size()));
  ::close(fd);
}

inline void put_file(const std::string& path, std::uint64_t bytes) {
  write_file(path, marks(0, bytes));
}

// What the kernel shows of a file to whoever reads it; fewer bytes where it ends.
inline Bytes read_file(const std::string& path, std::uint64_t offset = 0,
                       std::uint64_t bytes = 1ULL << 40) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  struct stat status{};
  if (fd < 0 || ::fstat(fd, &status) != 0) {
    ADD_FAILURE() << path << ": " << std::strerror(errno);
    return {};
  }
  const auto size = static_cast<std::uint64_t>(status.st_size);
  Bytes result(offset < size ? std::min(bytes, size - offset) : 0);
  std::uint64_t done = 0;
  while (done < result.size()) {
    const ssize_t got =
        ::pread(fd, result.data() + done, result.size() - done, static_cast<off_t>(offset + done));
    if (got <= 0) break;
    done += static_cast<std::uint64_t>(got);
  }
  EXPECT_EQ(done, result.size());
  ::close(fd);
  return result;
}

inline std::uint64_t blocks_of(const std::string& path) {
  struct stat status{};
  EXPECT_EQ(::stat(path.c_str(), &status), 0);
  return static_cast<std::uint64_t>(status.st_blocks);
}

// Plain loads and stores, byte by byte: no call of the system's that could refuse a buffer.
inline std::uint64_t differences(const std::byte* memory, const std::byte* expected,
                                 std::uint64_t bytes) {
  std::uint64_t wrong = 0;
  for (std::uint64_t i = 0; i < bytes; ++i) wrong += memory[i] == expected[i] ? 0 : 1;
  return wrong;
}
inline std::uint64_t unmarked(const std::byte* memory, std::uint64_t offset, std::uint64_t bytes) {
  std::uint64_t wrong = 0;
  for (std::uint64_t i = 0; i < bytes; ++i) wrong += memory[i] == mark(offset + i) ? 0 : 1;
  return wrong;
}
inline std::uint64_t load(const std::byte* at) {
  std::uint64_t value = 0;
  std::memcpy(&value, at, sizeof value);
  return value;
}
inline void store(std::byte* at, std::uint64_t value) { std::memcpy(at, &value, sizeof value); }

inline FileMapping map(Engine& engine, const std::string& path, const FileOptions& how = {}) {
  auto mapping = map_file(engine, path, how);
  if (mapping) return std::move(*mapping);
  ADD_FAILURE() << mapping.error().message();
  return {};
}

// Why it was refused: no error where it was not.
inline Error refusal(Engine& engine, const std::string& path, const FileOptions& how = {}) {
  const auto mapping = map_file(engine, path, how);
  EXPECT_FALSE(mapping);
  return mapping ? Error{} : mapping.error();
}

// Each kind of engine that this machine can run.
inline std::vector<Options> engines() {
  std::vector<Options> result;
  for (const FaultDelivery delivery : {FaultDelivery::signal, FaultDelivery::thread}) {
    const Options options = small_options(delivery);
    if (cannot_run(options).empty()) result.push_back(options);
  }
  EXPECT_FALSE(result.empty());
  return result;
}

// Another process that reads a file when it is asked to. Begun before any engine, and ended with
// this object.
class OtherProcess {
 public:
  explicit OtherProcess(const std::string& path) {
    int asked[2];
    int answered[2];
    EXPECT_EQ(::pipe2(asked, O_CLOEXEC), 0);
    EXPECT_EQ(::pipe2(answered, O_CLOEXEC), 0);
    pid_ = ::fork();
    if (pid_ == 0) {
      ::close(asked[1]);
      serve(path.c_str(), asked[0], answered[1]);
    }
    ::close(asked[0]);
    ::close(answered[1]);
    to_ = asked[1];
    from_ = answered[0];
  }
  ~OtherProcess() {
    ::close(to_);
    ::close(from_);
    ::waitpid(pid_, nullptr, 0);
  }
  OtherProcess(const OtherProcess&) = delete;
  OtherProcess& operator=(const OtherProcess&) = delete;

  // At most kMost bytes.
  Bytes read(std::uint64_t offset, std::uint64_t bytes) {
    const Asked asked{offset, bytes};
    EXPECT_EQ(::write(to_, &asked, sizeof asked), static_cast<ssize_t>(sizeof asked));
    Bytes result(bytes);
    std::uint64_t done = 0;
    while (done < bytes) {
      const ssize_t got = ::read(from_, result.data() + done, bytes - done);
      if (got <= 0) break;
      done += static_cast<std::uint64_t>(got);
    }
    EXPECT_EQ(done, bytes) << "the other process is gone, or the file ends there";
    return result;
  }
  static constexpr std::uint64_t kMost = 1 << 16;

 private:
  struct Asked {
    std::uint64_t offset = 0;
    std::uint64_t bytes = 0;
  };
  [[noreturn]] static void serve(const char* path, int asked, int answered) {
    static char buffer[kMost];
    const int fd = ::open(path, O_RDONLY | O_CLOEXEC);
    Asked what;
    while (::read(asked, &what, sizeof what) == static_cast<ssize_t>(sizeof what)) {
      const ssize_t got =
          ::pread(fd, buffer, std::min(what.bytes, kMost), static_cast<off_t>(what.offset));
      if (got <= 0 || ::write(answered, buffer, static_cast<std::size_t>(got)) != got) ::_exit(1);
    }
    ::_exit(0);
  }

  pid_t pid_ = -1;
  int to_ = -1;
  int from_ = -1;
};

}  // namespace holdfast::disk::test
