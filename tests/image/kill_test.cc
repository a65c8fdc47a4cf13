// A process that is killed while it saves leaves the image that was there, or the new one: whole.
#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>

#include "image_fixture.h"
#include "support/temp_directory.h"

namespace holdfast::image::test {
namespace {

constexpr const char* kChildPath =
    "HOLDFAST_TEST_SAVE_TO";  // set: this process saves until it dies
constexpr std::uint64_t kPages = 1024;

// Memory as it is in a version: its number stands in the first page.
void set_version(Memory& memory, std::uint64_t version) {
  std::mt19937_64 chance(version);
  memory.randomize(chance);
  memory.pages[0] = filled_page(version);
}

// --- the child ---

constexpr int kPipe = 3;  // where it tells what it does, a byte each time

void tell(char what) {
  if (::write(kPipe, &what, 1) != 1) ::_exit(1);
}

class Telling final : public WriteProgress {
 public:
  bool written(std::uint64_t, std::uint64_t, std::uint64_t) override {
    tell('w');
    return true;
  }
};

class TellingSink final : public sys::ByteSink {
 public:
  explicit TellingSink(std::unique_ptr<sys::ByteSink> sink) : sink_(std::move(sink)) {}
  int append(const std::byte* from, std::uint64_t bytes) noexcept override {
    return sink_->append(from, bytes);
  }
  Expected<void> commit() override {
    tell('c');
    auto result = sink_->commit();
    if (result) tell('d');
    return result;
  }

 private:
  std::unique_ptr<sys::ByteSink> sink_;
};

[[noreturn]] void save_until_killed(const std::string& path) {
  Memory memory({kPages});
  std::uint64_t version = 0;
  if (auto source = sys::open_byte_source(path)) {
    const auto image = Reader::open(sys::real_machine(), std::move(*source));
    if (!image) ::_exit(1);
    const Page page = page_of(**image, 0).value();
    std::memcpy(&version, page.bytes, sizeof version);
  }
  for (;;) {
    set_version(memory, ++version);
    auto file = sys::replace_file(path);
    if (!file) ::_exit(1);
    TellingSink sink(std::move(*file));
    Telling telling;
    if (!write_image(sys::real_machine(), memory, sink, {.progress = &telling})) ::_exit(1);
  }
}

// --- the parent ---

struct Child {
  pid_t pid = -1;
  int pipe = -1;
};

Child start(const std::string& path) {
  int ends[2];
  EXPECT_EQ(::pipe2(ends, O_CLOEXEC), 0);
  const pid_t pid = ::fork();
  if (pid == 0) {
    if (ends[1] == kPipe) {
      ::fcntl(kPipe, F_SETFD, 0);
    } else {
      ::dup2(ends[1], kPipe);
    }
    ::dup2(::open("/dev/null", O_WRONLY | O_CLOEXEC), STDOUT_FILENO);
    ::setenv(kChildPath, path.c_str(), 1);
    ::execl("/proc/self/exe", "image_tests", "--gtest_filter=ImageKill.*", nullptr);
    ::_exit(1);
  }
  ::close(ends[1]);
  return {pid, ends[0]};
}

// Lets it go on for so many bytes more, kills it, and counts what it finished in all.
std::uint64_t kill_after(const Child& child, std::uint64_t bytes) {
  std::uint64_t finished = 0;
  char what = 0;
  while (bytes > 0 && ::read(child.pipe, &what, 1) == 1) {
    finished += what == 'd' ? 1 : 0;
    --bytes;
  }
  EXPECT_EQ(bytes, 0u) << "the child ended by itself";
  ::kill(child.pid, SIGKILL);
  while (::read(child.pipe, &what, 1) == 1) finished += what == 'd' ? 1 : 0;
  int status = 0;
  ::waitpid(child.pid, &status, 0);
  EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL) << status;
  ::close(child.pipe);
  return finished;
}

TEST(ImageKill, OneHundredKillsLeaveTheOldImageOrTheNewOne) {
  if (const char* path = std::getenv(kChildPath)) save_until_killed(path);
  const std::uint64_t seed = tests::test_seed();
  HF_SEED_TRACE(seed);
  std::mt19937_64 chance(seed);
  const tests::TempDirectory directory;
  const std::string path = directory.file("image");
  Memory memory({kPages});
  std::uint64_t version = 0;
  for (int round = 0; round < 100; ++round) {
    // A save is 16 pieces and a commit: up to three of them, and any place within.
    const std::uint64_t finished = kill_after(start(path), 1 + chance() % 54);
    auto source = sys::open_byte_source(path);
    if (!source && version + finished == 0) continue;  // killed in the first save of all
    ASSERT_TRUE(source) << "the image is gone: " << source.error().message();
    const auto image = Reader::open(sys::real_machine(), std::move(*source));
    ASSERT_TRUE(image) << image.error().message();
    ASSERT_TRUE(verified(**image));
    std::uint64_t found = 0;
    std::memcpy(&found, page_of(**image, 0).value().bytes, sizeof found);
    // The last rename may have been done and not been told.
    ASSERT_TRUE(found == version + finished || found == version + finished + 1)
        << found << " after " << version << " and " << finished << " more";
    version = found;
    set_version(memory, version);
    expect_equal(**image, memory.pages);
    ASSERT_FALSE(HasFailure()) << "round " << round;
  }
  EXPECT_GT(version, 50u) << "saves were finished too";
}

}  // namespace
}  // namespace holdfast::image::test
