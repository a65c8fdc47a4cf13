#include "table.h"

#include <algorithm>
#include <bit>
#include <cstring>

namespace kv {
namespace {

constexpr std::uint64_t kFirstSize = 1024;       // buckets of an empty table
constexpr std::uint64_t kSizeMost = 1ull << 32;  // as many as hashes
constexpr int kEmptyMost = 16;                   // empty buckets passed over in one step
constexpr std::uint64_t kGiveBack = 64 << 10;    // bytes of the old array at a time

std::uint64_t mix(std::uint64_t a, std::uint64_t b) {
  __extension__ using Wide = unsigned __int128;
  const Wide product = static_cast<Wide>(a) * b;
  return static_cast<std::uint64_t>(product) ^ static_cast<std::uint64_t>(product >> 64);
}

std::uint64_t reverse_bits(std::uint64_t value) {
  std::uint64_t reversed = 0;
  for (int bit = 0; bit < 64; ++bit) reversed |= ((value >> bit) & 1) << (63 - bit);
  return reversed;
}

}  // namespace

holdfast::Expected<void> Table::format(std::uint64_t seed) {
  const auto array = heap_.allocate_zeroed(kFirstSize * sizeof(Offset));
  if (!array) return holdfast::fail(array.error());
  state_ = TableState{
      .seed = seed, .count = 0, .buckets = *array, .size = kFirstSize, .larger = 0, .moved = 0};
  return {};
}

// Eight bytes at a time through a wide multiplication. The seed keeps clients from choosing keys
// that all fall into one bucket.
std::uint32_t Table::hash_of(std::string_view key) const {
  constexpr std::uint64_t kFirst = 0x9e3779b97f4a7c15;
  constexpr std::uint64_t kSecond = 0xd6e8feb86659fd93;
  std::uint64_t hash = mix(state_.seed ^ key.size(), kFirst);
  for (std::size_t at = 0; at < key.size(); at += 8) {
    std::uint64_t word = 0;
    std::memcpy(&word, key.data() + at, std::min<std::size_t>(8, key.size() - at));
    hash = mix(hash ^ word, kSecond ^ state_.seed);
  }
  return static_cast<std::uint32_t>(hash ^ hash >> 32);
}

Offset& Table::bucket(std::uint32_t hash) const {
  const std::uint64_t index = hash & (state_.size - 1);
  if (state_.larger != 0 && index < state_.moved) {
    return heap_.at<Offset>(state_.larger)[hash & (2 * state_.size - 1)];
  }
  return heap_.at<Offset>(state_.buckets)[index];
}

Offset& Table::link_to(std::string_view key, std::uint32_t hash) const {
  Offset* link = &bucket(hash);
  while (*link != 0) {
    Entry& entry = *heap_.at<Entry>(*link);
    if (entry.hash == hash && entry.key() == key) break;
    link = &entry.next;
  }
  return *link;
}

std::optional<std::string_view> Table::get(std::string_view key) const {
  const Offset entry = link_to(key, hash_of(key));
  if (entry == 0) return std::nullopt;
  return heap_.at<Entry>(entry)->value();
}

holdfast::Expected<void> Table::set(std::string_view key, std::string_view value) {
  if (const Offset old = link_to(key, hash_of(key)); old != 0) {
    const auto done = overwrite(old, value);
    if (!done) return holdfast::fail(done.error());
    if (*done) return {};
  }
  const auto prepared = prepare(key, value);
  if (!prepared) return holdfast::fail(prepared.error());
  commit(*prepared);
  return {};
}

// In place, if the value fits without wasting most of the block, and one pin holds all of it: so
// that it is overwritten whole or not at all.
holdfast::Expected<bool> Table::overwrite(Offset at, std::string_view value) {
  auto* const entry = heap_.at<Entry>(at);
  const std::uint64_t bytes = entry->key_bytes + value.size();
  const bool fits = bytes <= entry->room && entry->room <= 2 * bytes + 64;
  if (!fits || sizeof(Entry) + bytes > Heap::kPinMost) return false;
  const auto held = heap_.pin(at, sizeof(Entry) + bytes);
  if (!held) return holdfast::fail(held.error());
  std::memcpy(const_cast<char*>(entry->bytes()) + entry->key_bytes, value.data(), value.size());
  entry->value_bytes = static_cast<std::uint32_t>(value.size());
  return true;
}

holdfast::Expected<std::uint64_t> Table::append(std::string_view key, std::string_view bytes) {
  const Offset old = link_to(key, hash_of(key));
  if (old == 0) {
    const auto done = set(key, bytes);
    if (!done) return holdfast::fail(done.error());
    return bytes.size();
  }
  auto* const entry = heap_.at<Entry>(old);
  const std::string_view value = entry->value();
  const std::uint64_t total = value.size() + bytes.size();
  if (entry->key_bytes + total <= entry->room) {
    // What is written behind the value does not count before its length says so.
    const Offset end = old + sizeof(Entry) + entry->key_bytes + value.size();
    const auto written = heap_.write(end, bytes);
    if (!written) return holdfast::fail(written.error());
    entry->value_bytes = static_cast<std::uint32_t>(total);
    return total;
  }
  // Half as much again, so that many small appends do not copy the value each time.
  const auto made = make(key, value, bytes, key.size() + total + total / 2);
  if (!made) return holdfast::fail(made.error());
  commit(*made);
  return total;
}

holdfast::Expected<Offset> Table::prepare(std::string_view key, std::string_view value) {
  return make(key, value, {}, key.size() + value.size());
}

// An entry that nothing refers to yet; its value is `value` and then `more`.
holdfast::Expected<Offset> Table::make(std::string_view key, std::string_view value,
                                       std::string_view more, std::uint64_t room) {
  const auto block = heap_.allocate(sizeof(Entry) + room);
  if (!block) return block;
  const Entry head{
      .next = 0,
      .hash = hash_of(key),
      .key_bytes = static_cast<std::uint32_t>(key.size()),
      .value_bytes = static_cast<std::uint32_t>(value.size() + more.size()),
      .room = static_cast<std::uint32_t>(Heap::room(sizeof(Entry) + room) - sizeof(Entry))};
  Offset at = *block;
  for (const std::string_view part :
       {std::string_view(reinterpret_cast<const char*>(&head), sizeof head), key, value, more}) {
    if (const auto written = heap_.write(at, part); !written) {
      heap_.free(*block, sizeof(Entry) + room);
      return holdfast::fail(written.error());
    }
    at += part.size();
  }
  return block;
}

void Table::commit(Offset prepared) {
  auto* const entry = heap_.at<Entry>(prepared);
  Offset& link = link_to(entry->key(), entry->hash);
  if (link != 0) {
    const Offset old = link;
    entry->next = heap_.at<Entry>(old)->next;
    link = prepared;
    discard(old);
    return;
  }
  link = prepared;
  ++state_.count;
  grow();
}

void Table::discard(Offset prepared) {
  heap_.free(prepared, sizeof(Entry) + heap_.at<Entry>(prepared)->room);
}

bool Table::erase(std::string_view key) {
  Offset& link = link_to(key, hash_of(key));
  if (link == 0) return false;
  const Offset entry = link;
  link = heap_.at<Entry>(entry)->next;
  discard(entry);
  --state_.count;
  grow();
  return true;
}

// Begins to grow when there are as many keys as buckets; goes on by one bucket with each call.
void Table::grow() {
  if (state_.larger == 0) {
    if (state_.count <= state_.size || state_.size == kSizeMost) return;
    const auto larger = heap_.allocate_zeroed(2 * state_.size * sizeof(Offset));
    if (!larger) return;  // chains get longer; the next change tries again
    state_.larger = *larger;
    state_.moved = 0;
  }
  const Offset* const old = heap_.at<Offset>(state_.buckets);
  for (int empty = 0; empty < kEmptyMost && state_.moved < state_.size; ++empty) {
    const bool had_entries = old[state_.moved] != 0;
    move_bucket();
    if (had_entries) break;
  }
  if (state_.moved < state_.size) return;
  heap_.free(state_.buckets, state_.size * sizeof(Offset));
  state_.buckets = state_.larger;
  state_.size *= 2;
  state_.larger = 0;
}

void Table::move_bucket() {
  Offset next = heap_.at<Offset>(state_.buckets)[state_.moved];
  ++state_.moved;  // from here on bucket() answers with the new array
  while (next != 0) {
    const Offset moving = next;
    auto* const entry = heap_.at<Entry>(moving);
    next = entry->next;
    Offset& head = bucket(entry->hash);
    entry->next = head;
    head = moving;
  }
  // What is behind us of a large array is given back piece by piece, not all at its end.
  const std::uint64_t done = state_.moved * sizeof(Offset);
  if (done % kGiveBack == 0) heap_.blank(state_.buckets + done - kGiveBack, kGiveBack);
}

void Table::visit_chain(Offset first, const Visitor& visit) const {
  for (Offset at = first; at != 0; at = heap_.at<Entry>(at)->next) visit(*heap_.at<Entry>(at));
}

void Table::for_each(const Visitor& visit) const {
  std::uint64_t cursor = 0;
  do cursor = scan(cursor, visit);
  while (cursor != 0);
}

// Counts with the bits reversed, highest first: when the table has doubled, the buckets that were
// visited are exactly those whose halves would come before the cursor.
std::uint64_t Table::scan(std::uint64_t cursor, const Visitor& visit) const {
  const std::uint64_t mask = state_.size - 1;
  const std::uint64_t index = cursor & mask;
  visit_chain(bucket(static_cast<std::uint32_t>(index)), visit);
  if (state_.larger != 0 && index < state_.moved) {  // its other half
    visit_chain(bucket(static_cast<std::uint32_t>(index + state_.size)), visit);
  }
  return reverse_bits(reverse_bits(cursor | ~mask) + 1);
}

}  // namespace kv
