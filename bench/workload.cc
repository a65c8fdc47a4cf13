#include "workload.h"

#include <fmt/format.h>

#include <atomic>
#include <chrono>
#include <cmath>
#include <cstring>
#include <string_view>

namespace holdfast::bench {
namespace {

constexpr std::uint64_t kSeed = 0x5eed'0f'401d'fa57;
constexpr std::uint64_t kRecordBytes = 64;
constexpr std::uint64_t kRandomWords = 2;  // of the eight words of a record: a quarter
constexpr std::uint64_t kTextBytes = 32;
constexpr std::uint64_t kFirstTime = 1'700'000'000'000;
constexpr std::string_view kText = "An owner of a page holds its own reference, until it is put.";

std::uint64_t mix(std::uint64_t value) noexcept {  // the finaliser of splitmix64
  value = (value ^ (value >> 30)) * 0xbf58476d1ce4e5b9;
  value = (value ^ (value >> 27)) * 0x94d049bb133111eb;
  return value ^ (value >> 31);
}

std::uint64_t rotate_left(std::uint64_t value, int bits) noexcept {
  return (value << bits) | (value >> (64 - bits));
}

// A record: 16 random bytes, its number, a time, and 32 characters of a sentence, from anywhere.
void fill_record(std::byte* record, std::uint64_t number, Random& content) {
  for (std::uint64_t word = 0; word < kRandomWords; ++word) {
    store_word(record + 8 * word, content.next());
  }
  store_word(record + 16, number);
  store_word(record + 24, kFirstTime + 3 * number);
  const std::uint64_t start = content.below(kText.size() - kTextBytes);
  std::memcpy(record + 32, kText.data() + start, kTextBytes);
}

void fill_page(std::byte* page, std::uint64_t index) {
  constexpr std::uint64_t kRecords = kPageBytes / kRecordBytes;
  Random content(kSeed ^ index);
  for (std::uint64_t record = 0; record < kRecords; ++record) {
    fill_record(page + record * kRecordBytes, index * kRecords + record, content);
  }
  store_word(page, page_tag(index));
}

}  // namespace

Random::Random(std::uint64_t seed) noexcept {
  for (auto& word : state_) word = mix(seed += 0x9e3779b97f4a7c15);
}

std::uint64_t Random::next() noexcept {
  const std::uint64_t result = rotate_left(state_[1] * 5, 7) * 9;
  const std::uint64_t shifted = state_[1] << 17;
  state_[2] ^= state_[0];
  state_[3] ^= state_[1];
  state_[1] ^= state_[2];
  state_[0] ^= state_[3];
  state_[2] ^= shifted;
  state_[3] = rotate_left(state_[3], 45);
  return result;
}

double now_seconds() {
  const auto since = std::chrono::steady_clock::now().time_since_epoch();
  return std::chrono::duration<double>(since).count();
}

std::uint64_t page_tag(std::uint64_t page) noexcept { return mix(kSeed + page); }

std::uint64_t load_word(const std::byte* address) noexcept {
  // Relaxed atomics compile to plain moves, are never dropped, and two threads may meet on a word.
  auto& word = *reinterpret_cast<std::uint64_t*>(const_cast<std::byte*>(address));
  return std::atomic_ref(word).load(std::memory_order_relaxed);
}

void store_word(std::byte* address, std::uint64_t value) noexcept {
  std::atomic_ref(*reinterpret_cast<std::uint64_t*>(address))
      .store(value, std::memory_order_relaxed);
}

Workload::Workload(std::byte* base, std::uint64_t first_page, std::uint64_t pages,
                   std::uint64_t seed)
    : base_(base), first_page_(first_page), pages_(pages), random_(kSeed ^ mix(seed)) {}

void Workload::fill() {
  for (std::uint64_t page = first_page_; page < first_page_ + pages_; ++page) {
    fill_page(address_of(page), page);
  }
}

std::uint64_t Workload::next_page(Work work) {
  if (work != Work::sequential) return first_page_ + random_.below(pages_);
  const std::uint64_t page = first_page_ + position_;
  if (++position_ == pages_) position_ = 0;
  return page;
}

template <Work kWork>
std::uint64_t Workload::loop(std::uint64_t ops) {
  std::uint64_t wrong = 0;
  for (std::uint64_t op = 0; op < ops; ++op) {
    const std::uint64_t page = next_page(kWork);
    std::byte* const address = address_of(page);
    if (kWork == Work::random_write || (kWork == Work::random_mixed && (random_.next() >> 63))) {
      store_word(address + 8, random_.next());
    } else if (load_word(address) != page_tag(page)) {
      ++wrong;
    }
  }
  return wrong;
}

Interval Workload::run(Work work, std::uint64_t ops) {
  Interval interval{.ops = ops};
  const double start = now_seconds();
  switch (work) {
    case Work::random_read:
      interval.wrong = loop<Work::random_read>(ops);
      break;
    case Work::random_write:
      interval.wrong = loop<Work::random_write>(ops);
      break;
    case Work::random_mixed:
      interval.wrong = loop<Work::random_mixed>(ops);
      break;
    case Work::sequential:
      interval.wrong = loop<Work::sequential>(ops);
      break;
  }
  interval.seconds = now_seconds() - start;
  return interval;
}

Result<std::uint64_t> warm_up(const std::function<Result<Interval>()>& interval,
                              std::uint64_t ops_least) {
  constexpr int kFurtherMost = 10;
  constexpr double kCalm = 0.05;
  std::uint64_t ops = 0;
  double last = 0;
  for (int further = 0; further < kFurtherMost;) {
    auto done = interval();
    if (!done) return std::unexpected(done.error());
    ops += done->ops;
    const double figure = done->microseconds_per_op();
    const bool calm = std::abs(figure - last) < kCalm * last;
    if (ops >= ops_least && calm) break;
    if (ops >= ops_least) ++further;
    last = figure;
  }
  return ops;
}

Result<Interval> checked(const Interval& interval) {
  if (interval.wrong == 0) return interval;
  return failure(fmt::format("{} of {} loads found wrong data", interval.wrong, interval.ops));
}

}  // namespace holdfast::bench
