// A program that takes all access to a part of its memory away, and writing to another, and waits
// for a child that has memory of its own. It knows nothing of Holdfast.
//
//   run_barred MEBIBYTES_BARRED MEBIBYTES
//
// Then it opens them again, uses twice as much as its child had, and says how many of their pages
// were in memory before that and after it. At last it checks every byte. Exit status: 0; 1 after a
// line that says what was wrong; 2 for wrong usage.
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

namespace {

constexpr std::size_t kPage = 4096;
constexpr std::size_t kPageWords = kPage / sizeof(std::uint64_t);
constexpr std::size_t kFarStep = 5003;
constexpr int kAccess = PROT_READ | PROT_WRITE;

[[noreturn]] void wrong(const char* what) {
  std::printf("WRONG: %s: %s\n", what, std::strerror(errno));
  std::exit(1);
}

std::uint64_t word(std::uint64_t key, std::size_t i) {
  return (key * 0x9e3779b97f4a7c15ULL) ^ (i * 0xff51afd7ed558ccdULL);
}

class Memory {
 public:
  Memory(std::size_t bytes, std::uint64_t key) : pages_(bytes / kPage), key_(key) {
    void* const got = ::mmap(nullptr, pages_ * kPage, kAccess,
                             MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (got == MAP_FAILED) wrong("mmap");
    words_ = static_cast<std::uint64_t*>(got);
  }
  void write() {
    for (std::size_t i = 0; i < pages_ * kPageWords; ++i) words_[i] = word(key_, i);
  }
  // Page by page, by that step: a large one that is odd and prime goes to and fro.
  void check(std::size_t step = 1) const {
    for (std::size_t i = 0; i < pages_; ++i) {
      const std::size_t first = i * step % pages_ * kPageWords;
      for (std::size_t at = first; at < first + kPageWords; ++at) {
        if (words_[at] != word(key_, at)) wrong("a word");
      }
    }
  }
  void protect(std::size_t first, std::size_t end, int access) {
    if (::mprotect(words_ + first * kPageWords, (end - first) * kPage, access) != 0) {
      wrong("mprotect");
    }
  }
  void keep_from_children() {
    if (::madvise(words_, pages_ * kPage, MADV_DONTFORK) != 0) wrong("madvise");
  }
  [[nodiscard]] std::size_t pages() const { return pages_; }
  [[nodiscard]] std::size_t resident() const {
    std::vector<unsigned char> there(pages_);
    if (::mincore(words_, pages_ * kPage, there.data()) != 0) wrong("mincore");
    std::size_t count = 0;
    for (const unsigned char each : there) count += each & 1U;
    return count;
  }

 private:
  std::size_t pages_;
  std::uint64_t key_;
  std::uint64_t* words_ = nullptr;
};

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) return 2;
  const auto bytes = [&](int i) { return std::strtoull(argv[i], nullptr, 10) << 20; };
  Memory barred(bytes(1), 1);
  barred.write();
  barred.protect(0, barred.pages() / 2, PROT_NONE);
  barred.protect(barred.pages() / 2, barred.pages(), PROT_READ);
  barred.keep_from_children();
  const pid_t child = ::fork();
  if (child < 0) wrong("fork");
  if (child == 0) {
    Memory own(bytes(2), 2);
    own.write();
    for (int i = 0; i < 3; ++i) own.check(kFarStep);
    ::_exit(0);
  }
  int status = 0;
  if (::waitpid(child, &status, 0) != child || status != 0) wrong("the child");
  const std::size_t before = barred.resident();
  barred.protect(0, barred.pages(), kAccess);
  Memory more(2 * bytes(2), 3);
  more.write();
  more.check();
  std::printf("%zu %zu\n", before, barred.resident());
  barred.check();
  return 0;
}
