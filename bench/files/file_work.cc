#include "files/file_work.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <span>
#include <thread>
#include <vector>

#include "files/asked_loads.h"
#include "files/parallel_sort.h"
#include "transfer/disk_file.h"
#include "workload.h"

namespace holdfast::bench {
namespace {

constexpr std::uint64_t kPiece = 1 << 20;
constexpr std::uint64_t kSeed = 20;
constexpr double kPercentile = 0.999;

std::uint64_t sum_of(std::span<const std::uint64_t> words) {
  std::uint64_t sum = 0;
  for (const std::uint64_t word : words) sum += word;
  return sum;
}

std::span<const std::uint64_t> words_at(const std::byte* address, std::uint64_t bytes) {
  return {reinterpret_cast<const std::uint64_t*>(address), bytes / sizeof(std::uint64_t)};
}

// Looks at every word of the pages. Returns how many pages have the wrong tag.
std::uint64_t scan_pages(const std::byte* pages, std::uint64_t first, std::uint64_t count,
                         std::uint64_t& sum) {
  std::uint64_t wrong = 0;
  for (std::uint64_t i = 0; i < count; ++i) {
    const std::byte* const page = pages + i * kPageBytes;
    sum += sum_of(words_at(page, kPageBytes));
    wrong += load_word(page) == DiskFile::tag_of(first + i) ? 0 : 1;
  }
  return wrong;
}

Result<double> scan_figure(std::uint64_t bytes, double seconds, std::uint64_t wrong) {
  if (wrong != 0) return failure(fmt::format("{} pages of the file have wrong content", wrong));
  return double(bytes) / double(1 << 20) / seconds;
}

// Makes the file one of random numbers. Returns their sum.
Result<std::uint64_t> write_numbers(const std::string& path, std::uint64_t bytes) {
  auto fd = DiskFile::open_direct(path);
  if (!fd) return std::unexpected(fd.error());
  auto* const piece = static_cast<std::uint64_t*>(std::aligned_alloc(kPageBytes, kPiece));
  const std::span<std::uint64_t> numbers(piece, kPiece / sizeof(std::uint64_t));
  Random random(kSeed);
  std::uint64_t sum = 0;
  bool good = true;
  for (std::uint64_t at = 0; good && at < bytes; at += kPiece) {
    for (std::uint64_t& number : numbers) number = random.next();
    sum += sum_of(numbers);
    good = pwrite(*fd, piece, kPiece, static_cast<off_t>(at)) == ssize_t{kPiece};
  }
  std::free(piece);
  close(*fd);
  if (!good) return system_trouble("write " + path);
  return sum;
}

class FileWork final : public Worker {
 public:
  FileWork(const FileScene& scene, MakeFileMemory make) : scene_(scene), memory_(make(scene)) {}

  Result<void> prepare() override {
    if (scene_.loop != FileLoop::hot && scene_.loop != FileLoop::stall) return {};
    return map();
  }

  Result<double> round(unsigned) override {
    switch (scene_.loop) {
      case FileLoop::scan:
        return scan();
      case FileLoop::random:
        return random_loads();
      case FileLoop::asked:
        return memory_->mapping() != nullptr ? asked_loads() : random_loads();
      case FileLoop::sort:
        return sort();
      case FileLoop::hot:
        return hot();
      case FileLoop::stall:
        return stall();
    }
    return failure("no such loop");
  }

  std::string report() override { return memory_->report(); }

 private:
  [[nodiscard]] std::uint64_t pages() const { return scene_.bytes / kPageBytes; }
  [[nodiscard]] std::byte* page(std::uint64_t index) const { return base_ + index * kPageBytes; }

  Result<void> map() {
    auto base = memory_->map_cold();
    if (!base) return std::unexpected(base.error());
    base_ = *base;
    return {};
  }

  Result<double> scan() {
    if (auto mapped = map(); !mapped) return std::unexpected(mapped.error());
    const double start = now_seconds();
    const std::uint64_t wrong = scan_pages(base_, 0, pages(), sum_);
    return scan_figure(scene_.bytes, now_seconds() - start, wrong);
  }

  Result<double> random_loads() {
    if (auto mapped = map(); !mapped) return std::unexpected(mapped.error());
    Interval interval{.ops = scene_.ops};
    const double start = now_seconds();
    for (std::uint64_t op = 0; op < scene_.ops; ++op) interval.wrong += load_random() ? 0 : 1;
    interval.seconds = now_seconds() - start;
    return figure_of(interval, 1e6);
  }

  Result<double> asked_loads() {
    if (auto mapped = map(); !mapped) return std::unexpected(mapped.error());
    const double start = now_seconds();
    auto interval =
        load_by_asking(*memory_->mapping(), scene_.coroutines, scene_.ops, pages(), random_);
    if (!interval) return std::unexpected(interval.error());
    interval->seconds = now_seconds() - start;
    return figure_of(*interval, 1e6);
  }

  // True if it found what it should.
  bool load_random() {
    const std::uint64_t index = random_.below(pages());
    return load_word(page(index)) == DiskFile::tag_of(index);
  }

  static Result<double> figure_of(const Interval& interval, double per_second) {
    if (auto right = checked(interval); !right) return std::unexpected(right.error());
    return interval.seconds * per_second / double(interval.ops);
  }

  Result<double> sort() {
    auto sum = write_numbers(scene_.path, scene_.bytes);
    if (!sum) return std::unexpected(sum.error());
    if (auto mapped = map(); !mapped) return std::unexpected(mapped.error());
    const std::span<std::uint64_t> numbers(reinterpret_cast<std::uint64_t*>(base_),
                                           scene_.bytes / sizeof(std::uint64_t));
    const double start = now_seconds();
    parallel_sort(numbers, 1);
    if (auto durable = memory_->sync(); !durable) return std::unexpected(durable.error());
    const double seconds = now_seconds() - start;
    if (!std::ranges::is_sorted(numbers)) return failure("the numbers are not in order");
    if (sum_of(numbers) != *sum) return failure("the numbers are not those that were sorted");
    return seconds;
  }

  Result<double> hot() {
    const std::uint64_t part = scene_.part / kPageBytes;
    Interval interval{.ops = scene_.ops};
    const double start = now_seconds();
    for (std::uint64_t op = 0; op < scene_.ops; ++op) {
      const std::uint64_t index = random_.below(part);
      if ((random_.next() >> 63) != 0) {
        store_word(page(index) + sizeof(std::uint64_t), op);
      } else {
        interval.wrong += load_word(page(index)) == DiskFile::tag_of(index) ? 0 : 1;
      }
    }
    interval.seconds = now_seconds() - start;
    return figure_of(interval, 1e9);
  }

  // The other thread stores one word to each page, in order, round and round.
  Result<double> stall() {
    std::atomic<bool> over{false};
    std::uint64_t stored = 0;
    std::thread writer([&] {
      for (; !over.load(std::memory_order_relaxed); ++stored) {
        store_word(page(stored % pages()) + sizeof(std::uint64_t), stored);
      }
    });
    std::vector<double> times;
    Interval interval;
    const double start = now_seconds();
    double before = start;
    while (before - start < scene_.seconds) {
      interval.wrong += load_random() ? 0 : 1;
      const double now = now_seconds();
      times.push_back(now - before);
      before = now;
    }
    over.store(true);
    writer.join();
    interval.ops = times.size();
    if (auto right = checked(interval); !right) return std::unexpected(right.error());
    const auto worst = times.begin() + static_cast<long>(kPercentile * double(times.size()));
    std::ranges::nth_element(times, worst);
    return *worst * 1e6;
  }

  const FileScene scene_;
  const std::unique_ptr<FileMemory> memory_;
  std::byte* base_ = nullptr;
  Random random_{kSeed};
  std::uint64_t sum_ = 0;
};

class DirectScan final : public Worker {
 public:
  explicit DirectScan(const FileScene& scene) : scene_(scene) {}
  ~DirectScan() override { std::free(piece_); }

  Result<void> prepare() override {
    piece_ = static_cast<std::byte*>(std::aligned_alloc(kPageBytes, kPiece));
    return {};
  }

  Result<double> round(unsigned) override {
    if (auto cold = drop_from_cache(scene_.path); !cold) return std::unexpected(cold.error());
    auto fd = DiskFile::open_direct(scene_.path);
    if (!fd) return std::unexpected(fd.error());
    std::uint64_t wrong = 0;
    bool good = true;
    const double start = now_seconds();
    for (std::uint64_t at = 0; good && at < scene_.bytes; at += kPiece) {
      good = pread(*fd, piece_, kPiece, static_cast<off_t>(at)) == ssize_t{kPiece};
      wrong += scan_pages(piece_, at / kPageBytes, kPiece / kPageBytes, sum_);
    }
    const double seconds = now_seconds() - start;
    close(*fd);
    if (!good) return system_trouble("read " + scene_.path);
    return scan_figure(scene_.bytes, seconds, wrong);
  }

  std::string report() override { return "O_DIRECT reads of 1 MiB, one at a time"; }

 private:
  const FileScene scene_;
  std::byte* piece_ = nullptr;
  std::uint64_t sum_ = 0;
};

}  // namespace

std::unique_ptr<Worker> make_file_work(const FileScene& scene, MakeFileMemory make) {
  return std::make_unique<FileWork>(scene, make);
}

std::unique_ptr<Worker> make_direct_scan(const FileScene& scene) {
  return std::make_unique<DirectScan>(scene);
}

}  // namespace holdfast::bench
