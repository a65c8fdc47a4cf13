#include "file/read_ahead.h"

#include <algorithm>
#include <cstring>

#include "file/file_source.h"

namespace holdfast::file {

namespace {

// Two files of one number forget each other's chunks, which does no harm.
std::uint64_t number_of(const sys::FileIdentity& identity) noexcept {
  return identity.inode ^ identity.device * 0x9e3779b97f4a7c15ULL;
}

}  // namespace

bool ReadAhead::Chunk::has(const FileSource& of, std::uint64_t index) const noexcept {
  const std::uint64_t from = first.load();
  const std::uint32_t distance = step.load();
  return source.load() == &of && index >= from && (index - from) % distance == 0 &&
         (index - from) / distance < pages.load();
}

Expected<std::unique_ptr<ReadAhead>> ReadAhead::create(sys::Machine& machine) {
  std::unique_ptr<ReadAhead> ahead(new ReadAhead(machine));
  ahead->memory_ = TRY(machine.reserve(kMemory, kPageSize, sys::Purpose::table));
  std::byte* data = machine.view(ahead->memory_);
  for (Chunk& chunk : ahead->chunks_) {
    chunk.data = data;
    data += kChunkPages * kPageSize;
  }
  const auto run = [](void* self) { static_cast<ReadAhead*>(self)->read_forever(); };
  ahead->thread_ = TRY(machine.start_thread("hf-ahead", run, ahead.get()));
  return ahead;
}

ReadAhead::~ReadAhead() {
  stop_.store(true);
  work_.fetch_add(1);
  sync::parking().wake(work_, 1);
  if (thread_ != nullptr) thread_->join();
  if (memory_ != 0) machine_.release(memory_, kMemory);
}

// --- hints ---

void ReadAhead::expect(FileSource& source, std::uint64_t first, std::uint32_t step,
                       std::uint32_t pages) noexcept {
  const std::uint64_t whole = source.bytes() >> kPageShift;  // what lies behind is not the file's
  const std::uint64_t end = std::min(first + std::uint64_t{pages} * step, whole);
  // Neighbours are read in chunks that begin at multiples of their size: two hints agree on them.
  std::uint64_t at = step == 1 ? first - first % kChunkPages : first;
  bool more = false;
  for (; at < end; at += std::uint64_t{kChunkPages} * step) {
    const std::uint64_t there = ((step == 1 ? whole : end) - at + step - 1) / step;
    const auto count = static_cast<std::uint32_t>(std::min<std::uint64_t>(kChunkPages, there));
    if (!is_known(source, at)) more = enqueue(source, at, step, count) || more;
  }
  if (!more) return;
  work_.fetch_add(1);
  sync::parking().wake(work_, 1);
}

bool ReadAhead::is_known(const FileSource& source, std::uint64_t index) const noexcept {
  return std::ranges::any_of(chunks_, [&](const Chunk& chunk) {
    const std::uint32_t word = chunk.word.load();
    return state_of(word) != free && (word & kGone) == 0 && chunk.has(source, index);
  });
}

bool ReadAhead::enqueue(FileSource& source, std::uint64_t first, std::uint32_t step,
                        std::uint32_t pages) noexcept {
  Chunk* const chunk = claim();
  if (chunk == nullptr) return false;
  chunk->source.store(&source);
  chunk->file.store(number_of(source.data().identity()));
  chunk->first.store(first);
  chunk->step.store(step);
  chunk->pages.store(pages);
  chunk->taken.store(0);
  chunk->number.store(numbers_.fetch_add(1));
  HF_INTERLEAVE();
  chunk->word.store(queued);
  return true;
}

// A chunk that is free, or else the oldest that is ready and nobody copies. Null: none.
ReadAhead::Chunk* ReadAhead::claim() noexcept {
  Chunk* oldest = nullptr;
  for (Chunk& chunk : chunks_) {
    std::uint32_t expected = free;
    if (chunk.word.compare_exchange_strong(expected, filling)) return &chunk;
    if (expected != ready) continue;
    if (oldest == nullptr || chunk.number.load() < oldest->number.load()) oldest = &chunk;
  }
  std::uint32_t expected = ready;
  if (oldest == nullptr || !oldest->word.compare_exchange_strong(expected, filling)) return nullptr;
  return oldest;
}

// --- faults ---

std::uint32_t ReadAhead::take(FileSource& source, std::uint64_t first, std::uint32_t pages,
                              std::byte* const* to) noexcept {
  for (Chunk& chunk : chunks_) {
    if (!pin(chunk, source, first)) continue;
    const std::uint64_t at = (first - chunk.first.load()) / chunk.step.load();
    const std::uint64_t there = chunk.step.load() == 1 ? chunk.pages.load() - at : 1;
    const auto count = static_cast<std::uint32_t>(std::min<std::uint64_t>(pages, there));
    for (std::uint32_t i = 0; i < count; ++i) {
      std::memcpy(to[i], chunk.data + (at + i) * kPageSize, kPageSize);
    }
    unpin(chunk, count);
    return count;
  }
  return 0;
}

// Holds the chunk, if it has the page; waits for it if it is being read.
bool ReadAhead::pin(Chunk& chunk, const FileSource& source, std::uint64_t index) noexcept {
  for (;;) {
    std::uint32_t word = chunk.word.load();
    const State state = state_of(word);
    if (state == free || state == filling || (word & kGone) != 0) return false;
    if (!chunk.has(source, index)) return false;
    HF_INTERLEAVE();
    if (state == queued) {  // whoever needs it now reads it himself
      (void)chunk.word.compare_exchange_strong(word, free);
      continue;
    }
    if (state == reading) {
      sync::parking().wait(chunk.word, word, 0);
      continue;
    }
    if (!chunk.word.compare_exchange_strong(word, word + kCopier)) continue;
    // It may have become another one in between.
    const bool young = machine_.now_ns() - chunk.begun_ns.load() < kAgeMax;
    if (young && chunk.has(source, index)) return true;
    unpin(chunk, young ? 0 : kChunkPages);
    return false;
  }
}

void ReadAhead::unpin(Chunk& chunk, std::uint32_t taken) noexcept {
  const std::uint32_t all = chunk.taken.fetch_add(taken) + taken;
  const bool used_up = all >= chunk.pages.load();
  std::uint32_t word = chunk.word.load();
  std::uint32_t next = 0;
  do {
    next = (word - kCopier) | (used_up ? kGone : 0);
    if (next == (ready | kGone)) next = free;
  } while (!chunk.word.compare_exchange_weak(word, next));
}

// --- writes ---

void ReadAhead::forget(FileSource& source, std::uint64_t first, std::uint64_t end) noexcept {
  const std::uint64_t file = number_of(source.data().identity());
  for (Chunk& chunk : chunks_) {
    const State state = state_of(chunk.word.load());
    if (state == free || state == filling || chunk.file.load() != file) continue;
    if (chunk.first.load() < end && first < chunk.end()) drop(chunk);
  }
}

// Of no use from now on. One that is not begun will read what was written.
void ReadAhead::drop(Chunk& chunk) noexcept {
  std::uint32_t word = chunk.word.load();
  std::uint32_t next = 0;
  do {
    const State state = state_of(word);
    if (state == free || state == filling || (word & kGone) != 0) return;
    next = state == queued || word == ready ? free : word | kGone;
  } while (!chunk.word.compare_exchange_weak(word, next));
}

void ReadAhead::leave(FileSource& source) noexcept {
  for (Chunk& chunk : chunks_) {
    if (chunk.source.load() != &source) continue;
    drop(chunk);
    for (std::uint32_t word = chunk.word.load();
         state_of(word) == reading && chunk.source.load() == &source; word = chunk.word.load()) {
      sync::parking().wait(chunk.word, word, 0);
    }
  }
}

// --- the thread ---

void ReadAhead::read_forever() noexcept {
  while (!stop_.load()) {
    const std::uint32_t seen = work_.load();
    if (!read_some()) sync::parking().wait(work_, seen, 0);
  }
}

// Reads the oldest chunks that wait, as far as they are neighbours of one file. False: none waits.
bool ReadAhead::read_some() noexcept {
  Chunk* taken[kBatch];
  std::uint32_t count = 0;
  while (count < kBatch) {
    Chunk* oldest = nullptr;
    for (Chunk& chunk : chunks_) {
      if (chunk.word.load() != queued) continue;
      if (oldest == nullptr || chunk.number.load() < oldest->number.load()) oldest = &chunk;
    }
    if (oldest == nullptr) break;
    std::uint32_t expected = queued;
    if (!oldest->word.compare_exchange_strong(expected, reading)) continue;
    HF_INTERLEAVE();
    taken[count++] = oldest;
    if (oldest->step.load() != 1) break;
  }
  for (std::uint32_t from = 0; from < count;) {
    std::uint32_t to = from + 1;
    const auto source = [&](std::uint32_t i) { return taken[i]->source.load(); };
    const bool alone = taken[count - 1]->step.load() != 1;
    while (!alone && to < count && source(to) == source(from)) ++to;
    read(taken + from, to - from);
    from = to;
  }
  return count > 0;
}

// Chunks of one source: all are in flight at once.
void ReadAhead::read(Chunk* const* chunks, std::uint32_t count) noexcept {
  sys::IoRequest requests[std::max(kBatch, kChunkPages)];
  std::uint32_t extents = 0;
  const std::uint64_t now = machine_.now_ns();
  for (std::uint32_t c = 0; c < count; ++c) {
    Chunk& chunk = *chunks[c];
    chunk.begun_ns.store(now);
    const std::uint32_t step = chunk.step.load();
    const std::uint32_t pieces = step == 1 ? 1 : chunk.pages.load();
    const std::uint64_t bytes = step == 1 ? chunk.pages.load() * kPageSize : kPageSize;
    for (std::uint32_t i = 0; i < pieces; ++i) {
      requests[extents++] = {.data = chunk.data + i * kPageSize,
                             .bytes = bytes,
                             .offset = (chunk.first.load() + std::uint64_t{i} * step)
                                       << kPageShift};
    }
  }
  chunks[0]->source.load()->data().read(std::span(requests, extents));
  std::uint32_t extent = 0;
  for (std::uint32_t c = 0; c < count; ++c) {
    Chunk& chunk = *chunks[c];
    const std::uint32_t pieces = chunk.step.load() == 1 ? 1 : chunk.pages.load();
    bool good = true;
    for (std::uint32_t i = 0; i < pieces; ++i) good = requests[extent++].error == 0 && good;
    HF_INTERLEAVE();
    std::uint32_t word = reading;
    // What could not be read is for the fault to find out, and to tell.
    if (!good || !chunk.word.compare_exchange_strong(word, ready)) chunk.word.store(free);
    sync::parking().wake(chunk.word, sync::kWakeAll);
  }
}

}  // namespace holdfast::file
