// A program that works on more memory than it is given and checks every byte that it reads. It
// knows nothing of Holdfast.
//
//   far_bytes MEBIBYTES STOP [SEED]
//
// It writes each page once, then reads and rewrites pages in runs and singly, by chance, until the
// file STOP is there; then it reads all of it. A file STOP.begun says that all has been written.
// Exit status: 0 if every byte was right; 1 after a line that says which was not.
#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <random>
#include <string>
#include <vector>

namespace {

constexpr std::size_t kPage = 4096;
constexpr std::size_t kRandom = kPage / 2;  // bytes of a page that do not compress

class Memory {
 public:
  explicit Memory(std::size_t pages)
      : bytes_(static_cast<unsigned char*>(std::aligned_alloc(kPage, pages * kPage))),
        versions_(pages) {}

  [[nodiscard]] std::size_t pages() const { return versions_.size(); }
  void write(std::size_t page) { make(page, ++versions_[page], bytes_ + page * kPage); }
  void check(std::size_t page) const {
    unsigned char expected[kPage];
    make(page, versions_[page], expected);
    if (std::memcmp(expected, bytes_ + page * kPage, kPage) == 0) return;
    std::printf("page %zu, version %u: wrong bytes\n", page, versions_[page]);
    std::exit(1);
  }

 private:
  static void make(std::size_t page, std::uint32_t version, unsigned char* to) {
    std::uint64_t word = (page << 20 | version) * 0x9e3779b97f4a7c15ULL + 1;
    for (std::size_t at = 0; at < kRandom; at += sizeof word) {
      word ^= word << 13;
      word ^= word >> 7;
      word ^= word << 17;
      std::memcpy(to + at, &word, sizeof word);
    }
    std::memset(to + kRandom, static_cast<int>(page & 0x7f), kPage - kRandom);
  }

  unsigned char* bytes_;
  std::vector<std::uint32_t> versions_;
};

}  // namespace

int main(int argc, char** argv) {
  if (argc < 3) return 2;
  Memory memory(std::strtoull(argv[1], nullptr, 10) << 8);
  const std::string stop = argv[2];
  std::mt19937_64 chance(argc > 3 ? std::strtoull(argv[3], nullptr, 10) : 1);
  for (std::size_t page = 0; page < memory.pages(); ++page) memory.write(page);
  if (std::FILE* const begun = std::fopen((stop + ".begun").c_str(), "w")) std::fclose(begun);
  while (::access(stop.c_str(), F_OK) != 0) {
    const std::size_t count = chance() % 4 == 0 ? 256 : 1 + chance() % 8;
    const std::size_t first = chance() % (memory.pages() - count);
    for (std::size_t page = first; page < first + count; ++page) {
      memory.check(page);
      if (chance() % 3 == 0) memory.write(page);
    }
  }
  for (std::size_t page = 0; page < memory.pages(); ++page) memory.check(page);
  std::puts("every byte was right");
  return 0;
}
