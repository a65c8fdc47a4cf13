// A program one of whose threads waits for memory that is far, while another works on memory that
// is not. It knows nothing of Holdfast.
//
//   far_waiter FAR NEAR STOP      mebibytes
//
// FAR does not compress, and so goes past the memory tier; NEAR does, and stays there. It writes
// both and reads NEAR until FAR has left; then there is a file STOP.begun. Once STOP is there one
// thread reads all of FAR from its middle on, while the other goes through NEAR, and throws memory
// away and takes it anew. When it has done so kRounds times, and the first thread has not had its
// first page, there is a file STOP.served. Exit status: 0 if every byte was right; 1 after a line
// that says which was not; 3 if the first page came meanwhile.
#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <thread>

namespace {

constexpr std::size_t kPage = 4096;
constexpr int kRounds = 3;
constexpr std::size_t kScratchPages = 256;

// Also with another thread in the middle of anything.
[[noreturn]] void end(int status, const std::string& line) {
  [[maybe_unused]] const ssize_t written = ::write(STDOUT_FILENO, line.data(), line.size());
  std::_Exit(status);
}

class Memory {
 public:
  // `random`: bytes of a page that do not compress.
  Memory(const char* mebibytes, std::uint64_t seed, std::size_t random)
      : pages_(std::strtoull(mebibytes, nullptr, 10) << 8),
        seed_(seed),
        random_(random),
        bytes_(static_cast<unsigned char*>(std::aligned_alloc(kPage, pages_ * kPage))) {
    for (std::size_t page = 0; page < pages_; ++page) make(page, bytes_ + page * kPage);
  }
  [[nodiscard]] std::size_t pages() const { return pages_; }
  void check(std::size_t page) const {
    unsigned char expected[kPage];
    make(page, expected);
    if (std::memcmp(expected, bytes_ + page * kPage, kPage) == 0) return;
    end(1,
        "page " + std::to_string(page) + " of memory " + std::to_string(seed_) + ": wrong bytes\n");
  }
  void check_all() const {
    for (std::size_t page = 0; page < pages_; ++page) check(page);
  }

 private:
  void make(std::size_t page, unsigned char* to) const {
    std::uint64_t word = (page << 8 | seed_) * 0x9e3779b97f4a7c15ULL + 1;
    for (std::size_t at = 0; at < random_; at += sizeof word) {
      word ^= word << 13;
      word ^= word >> 7;
      word ^= word << 17;
      std::memcpy(to + at, &word, sizeof word);
    }
    std::memset(to + random_, static_cast<int>(page & 0x7f), kPage - random_);
  }

  std::size_t pages_;
  std::uint64_t seed_;
  std::size_t random_;
  unsigned char* bytes_;
};

void leave(const std::string& path) {
  if (std::FILE* const file = std::fopen(path.c_str(), "w")) std::fclose(file);
}

// Memory that is thrown away reads as zeros.
void take_anew(unsigned char* scratch) {
  std::memset(scratch, 1, kScratchPages * kPage);
  if (::madvise(scratch, kScratchPages * kPage, MADV_DONTNEED) != 0) std::_Exit(2);
  for (std::size_t page = 0; page < kScratchPages; ++page) {
    if (scratch[page * kPage] != 0) end(1, "what was thrown away is there\n");
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 4) return 2;
  const std::string stop = argv[3];
  auto* const scratch =
      static_cast<unsigned char*>(std::aligned_alloc(kPage, kScratchPages * kPage));
  const Memory far(argv[1], 1, kPage);
  const Memory near(argv[2], 2, kPage / 16);
  near.check_all();
  leave(stop + ".begun");
  while (::access(stop.c_str(), F_OK) != 0) near.check_all();
  std::atomic<bool> begun{false};
  std::atomic<bool> came{false};
  std::thread waiter([&] {
    begun = true;
    far.check(far.pages() / 2);
    came = true;
    far.check_all();
  });
  while (!begun) std::this_thread::yield();
  for (int i = 0; i < kRounds; ++i) {
    near.check_all();
    take_anew(scratch);
  }
  if (came) end(3, "the first page came at once\n");
  leave(stop + ".served");
  waiter.join();
  near.check_all();
  std::puts("every byte was right");
  return 0;
}
