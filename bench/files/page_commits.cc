// Commits of a page store, and the scan of what they left: the same compiled loops over both
// protocols.
#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <vector>

#include "files/extents.h"
#include "files/file_memory.h"
#include "files/page_store.h"
#include "plain_memory.h"
#include "transfer/disk_file.h"
#include "workload.h"

namespace holdfast::bench {
namespace {

constexpr std::uint64_t kSeed = 20;
constexpr std::uint64_t kWindow = 4 << 20;  // of a scan: so much is in flight at once

class PageCommits : public Worker {
 public:
  PageCommits(const CommitScene& scene, MakePageStore make)
      : scene_(scene), store_(make(scene)), content_(kPageBytes), is_changed_(scene.pages) {}

  Result<void> prepare() override {
    auto memory = PlainMemory::map(scene_.pages * kPageBytes);
    if (!memory) return std::unexpected(memory.error());
    memory_ = std::move(*memory);
    for (std::uint32_t page = 0; page < scene_.pages; ++page) store_page(page);
    return store_->create(memory_->data());
  }

  Result<double> round(unsigned part) override {
    if (auto ready = store_->get_ready_for(ShadowPart(part)); !ready) {
      return std::unexpected(ready.error());
    }
    const double start = now_seconds();
    for (std::uint64_t commit = 0; commit < scene_.commits; ++commit) {
      if (auto durable = change_and_commit(ShadowPart(part)); !durable) {
        return std::unexpected(durable.error());
      }
    }
    return (now_seconds() - start) * 1e3 / double(scene_.commits);
  }

  std::string report() override { return store_->report(); }

 protected:
  [[nodiscard]] std::byte* page_at(std::uint32_t page) const {
    return memory_->data() + page * kPageBytes;
  }
  const CommitScene scene_;
  const std::unique_ptr<PageStore> store_;

 private:
  Result<void> change_and_commit(ShadowPart part) {
    changed_.clear();
    for (std::uint64_t i = 0; i < scene_.changed; ++i) {
      const auto page = static_cast<std::uint32_t>(random_.below(scene_.pages));
      store_page(page);
      if (!is_changed_[page]) changed_.push_back(page);
      is_changed_[page] = true;
    }
    for (const std::uint32_t page : changed_) is_changed_[page] = false;
    std::ranges::sort(changed_);
    return store_->commit(changed_, part);
  }
  void store_page(std::uint32_t page) {
    store_word(content_.data(), random_.next());  // no two are alike
    store_word(content_.data() + sizeof(std::uint64_t), page_tag(page));
    std::memcpy(page_at(page), content_.data(), kPageBytes);
  }

  std::vector<std::byte> content_;
  std::vector<bool> is_changed_;
  std::vector<std::uint32_t> changed_;
  std::unique_ptr<PlainMemory> memory_;
  Random random_{kSeed};
};

class PageScan final : public PageCommits {
 public:
  using PageCommits::PageCommits;

  Result<void> prepare() override {
    if (auto ready = PageCommits::prepare(); !ready) return ready;
    if (auto made = PageCommits::round(kOneFlush); !made) return std::unexpected(made.error());
    if (auto there = store_->bring_up_to_date(); !there) return there;
    auto window = PlainMemory::map(kWindow);
    if (!window) return std::unexpected(window.error());
    window_ = std::move(*window);
    auto io = ExtentIo::create();
    if (!io) return std::unexpected(io.error());
    io_ = std::move(*io);
    return {};
  }

  Result<double> round(unsigned) override {
    const std::string& path = scene_.path;
    if (auto cold = drop_from_cache(path); !cold) return std::unexpected(cold.error());
    auto fd = DiskFile::open_direct(path);
    if (!fd) return std::unexpected(fd.error());
    auto seconds = scan(*fd);
    close(*fd);
    if (!seconds) return seconds;
    return double(scene_.pages * kPageBytes) / double(1 << 20) / *seconds;
  }

 private:
  Result<double> scan(int fd) {
    constexpr auto kPages = static_cast<std::uint32_t>(kWindow / kPageBytes);
    const auto pages = static_cast<std::uint32_t>(scene_.pages);
    std::uint64_t wrong = 0;
    const double start = now_seconds();
    for (std::uint32_t first = 0; first < pages; first += kPages) {
      const std::uint32_t count = std::min(kPages, pages - first);
      extents_.clear();
      for (std::uint32_t i = 0; i < count; ++i) {
        extents_.add(store_->offset_of(first + i), window_->data() + i * kPageBytes, kPageBytes);
      }
      if (auto read = io_->read(fd, extents_); !read) return std::unexpected(read.error());
      for (std::uint32_t i = 0; i < count; ++i) wrong += is_right(first + i, i) ? 0 : 1;
    }
    const double seconds = now_seconds() - start;
    if (wrong != 0) return failure(fmt::format("{} pages are not as committed", wrong));
    return seconds;
  }
  // The page's own tag, and what was stored last.
  [[nodiscard]] bool is_right(std::uint32_t page, std::uint32_t in_window) const {
    constexpr std::size_t kWords = 2 * sizeof(std::uint64_t);
    return std::memcmp(window_->data() + in_window * kPageBytes, page_at(page), kWords) == 0;
  }

  std::unique_ptr<PlainMemory> window_;
  std::unique_ptr<ExtentIo> io_;
  Extents extents_;
};

}  // namespace

std::unique_ptr<Worker> make_page_commits(const CommitScene& scene, MakePageStore make) {
  return std::make_unique<PageCommits>(scene, make);
}

std::unique_ptr<Worker> make_page_scan(const CommitScene& scene, MakePageStore make) {
  return std::make_unique<PageScan>(scene, make);
}

}  // namespace holdfast::bench
