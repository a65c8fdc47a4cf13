// What the tests of images share: memory that can be saved, and bytes that fail on demand.
//
// Fault model: a write or read fails with an errno, by its number, once or for ever; a commit
// fails. A file that was written may be cut short, and any of its bytes may change.
#pragma once

#include <gtest/gtest.h>

#include <cerrno>
#include <cstring>
#include <memory>
#include <mutex>
#include <random>
#include <string>
#include <vector>

#include "image/image.h"
#include "support/seed.h"
#include "sys/sys.h"

namespace holdfast::image::test {

struct Page {
  alignas(8) std::byte bytes[kPageSize];
  friend bool operator==(const Page& a, const Page& b) {
    return std::memcmp(a.bytes, b.bytes, kPageSize) == 0;
  }
};

inline Page filled_page(std::uint64_t word) {
  Page page;
  base::fill_page(page.bytes, word);
  return page;
}

// The first `random` bytes of each 64 are by chance: 0 compresses well, 64 not at all.
inline Page chance_page(std::mt19937_64& chance, std::size_t random) {
  Page page;
  for (std::size_t i = 0; i < kPageSize; ++i) {
    page.bytes[i] = i % 64 < random ? static_cast<std::byte>(chance()) : std::byte{0x5a};
  }
  const std::uint64_t unique = chance();
  std::memcpy(page.bytes, &unique, sizeof unique);
  return page;
}

// A page of any kind that memory has.
inline Page any_page(std::mt19937_64& chance) {
  switch (chance() % 6) {
    case 0:
    case 1:
      return filled_page(0);
    case 2:
      return filled_page(chance() % 3 * 0x0101010101010101);
    case 3:
      return chance_page(chance, 64);
    default:
      return chance_page(chance, 8);
  }
}

// Regions in ordinary memory, told as one run of data each, or as the test says.
class Memory final : public RunSource {
 public:
  explicit Memory(std::vector<std::uint64_t> pages_of_regions) {
    for (const std::uint64_t count : pages_of_regions) {
      sizes_.push_back(count * kPageSize);
      pages.resize(pages.size() + count, filled_page(0));
    }
  }
  void randomize(std::mt19937_64& chance) {
    for (Page& page : pages) page = any_page(chance);
  }
  std::span<const std::uint64_t> regions() const override { return sizes_; }
  Expected<void> for_each_run(RunVisitor& visitor) override {
    if (told.empty()) (void)visitor.visit({0, pages.size(), PageKind::data, 0});
    for (const PageRun& run : told) {
      if (!visitor.visit(run)) break;
    }
    return {};
  }
  Expected<void> read(std::uint64_t first, std::uint32_t count, std::byte* to) override {
    if (fail_read_in >= 0 && fail_read_in-- == 0) {
      return fail({.code = Errc::io_error, .os_errno = EIO, .doing = "read memory"});
    }
    std::memcpy(to, pages[first].bytes, count * kPageSize);
    return {};
  }

  std::vector<Page> pages;
  std::vector<PageRun> told;  // empty: all is data
  std::atomic<int> fail_read_in{-1};

 private:
  std::vector<std::uint64_t> sizes_;
};

// A file in memory, written.
class MemorySink final : public sys::ByteSink {
 public:
  int append(const std::byte* from, std::uint64_t count) noexcept override {
    if (fail_append_in >= 0 && fail_append_in-- == 0) return error;
    bytes.insert(bytes.end(), from, from + count);
    ++appends;
    return 0;
  }
  Expected<void> commit() override {
    if (fail_commit) return fail({.code = Errc::io_error, .os_errno = EIO, .doing = "sync file"});
    committed = true;
    return {};
  }
  std::vector<std::byte> bytes;
  int appends = 0;
  int fail_append_in = -1, error = EIO;
  bool fail_commit = false, committed = false;
};

// A file in memory, read; the bytes are the test's, and may change meanwhile.
class MemorySource final : public sys::ByteSource {
 public:
  explicit MemorySource(const std::vector<std::byte>& bytes,
                        std::atomic<int>* fail_read_in = nullptr)
      : bytes_(bytes), size_(bytes.size()), fail_read_in_(fail_read_in) {}
  int read(std::uint64_t offset, std::byte* to, std::uint64_t count) noexcept override {
    if (fail_read_in_ != nullptr && *fail_read_in_ >= 0 && (*fail_read_in_)-- == 0) return EIO;
    if (offset > bytes_.size() || count > bytes_.size() - offset) return EIO;
    std::memcpy(to, bytes_.data() + offset, count);
    return 0;
  }
  std::uint64_t size() const noexcept override { return size_; }

 private:
  const std::vector<std::byte>& bytes_;
  const std::uint64_t size_;
  std::atomic<int>* fail_read_in_;
};

inline std::vector<std::byte> saved(RunSource& memory, const WriteOptions& options = {}) {
  MemorySink sink;
  const auto report = write_image(sys::real_machine(), memory, sink, options);
  EXPECT_TRUE(report) << report.error().message();
  EXPECT_TRUE(sink.committed);
  if (report) {
    EXPECT_EQ(report->bytes, sink.bytes.size());
  }
  return std::move(sink.bytes);
}

inline Expected<std::unique_ptr<Reader>> opened(const std::vector<std::byte>& bytes) {
  return Reader::open(sys::real_machine(), std::make_unique<MemorySource>(bytes));
}

inline Expected<Page> page_of(Reader& image, std::uint64_t index) {
  Page page;
  std::byte* const to[] = {page.bytes};
  Error error;
  if (!image.read(index, 1, to, error)) return fail(error);
  return page;
}

// Every page of the image is that of the memory, or reading it is an error (counted).
inline std::uint64_t expect_equal_or_refused(Reader& image, const std::vector<Page>& pages) {
  std::uint64_t refused = 0;
  EXPECT_EQ(image.header().pages, pages.size());
  for (std::uint64_t i = 0; i < pages.size(); ++i) {
    const auto page = page_of(image, i);
    if (!page) {
      ++refused;
      EXPECT_TRUE(page.error().code == Errc::corrupted || page.error().code == Errc::io_error)
          << page.error().message();
    } else if (!(*page == pages[i])) {
      ADD_FAILURE() << "page " << i << " is wrong";
    }
  }
  return refused;
}

inline void expect_equal(Reader& image, const std::vector<Page>& pages) {
  EXPECT_EQ(expect_equal_or_refused(image, pages), 0u);
}

class NoProgress final : public VerifyProgress {
 public:
  bool verified(std::uint64_t bytes, std::uint64_t all) override {
    EXPECT_LE(bytes, all);
    last = bytes;
    ++calls;
    return calls != stop_at;
  }
  std::uint64_t last = 0;
  int calls = 0, stop_at = -1;
};

inline Expected<void> verified(Reader& image) {
  NoProgress progress;
  return image.verify(progress);
}

}  // namespace holdfast::image::test
