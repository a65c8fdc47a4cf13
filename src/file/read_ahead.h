// Reading ahead: what faults will probably ask a file for is read by a thread before they do.
//
// Who detects what: space/ knows the streams of a region and says what it expects (PageSource::
// expect). Here are the chunks that are read for it, a few for all files of an engine, each of up
// to kChunkPages pages in equal steps. A fault that asks for a page of a chunk copies it from
// there; one that is being read is waited for, one that is not begun is left to the fault.
//
// A chunk's states, with the number of those who copy from it, are one word on which waiters park:
//
//   free ──▶ filling ──▶ queued ──▶ reading ──▶ ready ──▶ free
//                           └──▶ free    └──▶ free
//
//   gone (a flag)   of no use: what it was read from has been written since. Free as soon as
//                   nobody reads or copies it
//
// Why what is taken is never older than what was written: a page is written while its entry is not
// `none`, and its chunks are forgotten after the write, before the entry may be `none` again; a
// chunk that is begun later reads what was written. What others do to the file is seen after
// kAgeMax at the latest.
//
// Context: expect(), take() and forget() are async-signal-safe and take no lock; take() may wait
// for a read that is under way. Thread-safe.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>

#include "sys/sys.h"

namespace holdfast::file {

class FileSource;

class ReadAhead {
 public:
  static constexpr std::uint32_t kChunkPages = 64;
  static constexpr std::uint32_t kChunks = 32;
  static constexpr std::uint64_t kMemory = std::uint64_t{kChunks} * kChunkPages * kPageSize;

  // Errors: out_of_memory (address space), and those of start_thread.
  [[nodiscard]] static Expected<std::unique_ptr<ReadAhead>> create(sys::Machine& machine);
  // No source uses it any more.
  ~ReadAhead();
  ReadAhead(const ReadAhead&) = delete;
  ReadAhead& operator=(const ReadAhead&) = delete;

  // Pages first, first + step, ... will be asked for soon. Only a hint: what there is no chunk for
  // is forgotten. Never waits.
  void expect(FileSource& source, std::uint64_t first, std::uint32_t step,
              std::uint32_t pages) noexcept;
  // Puts page first + i at to[i] for as many of `pages` as a chunk has. Returns how many.
  [[nodiscard]] std::uint32_t take(FileSource& source, std::uint64_t first, std::uint32_t pages,
                                   std::byte* const* to) noexcept;
  // Pages [first, end) of the file, whichever source has it, have been written.
  void forget(FileSource& source, std::uint64_t first, std::uint64_t end) noexcept;
  // The source goes: afterwards nothing of it is read any more.
  void leave(FileSource& source) noexcept;

 private:
  enum State : std::uint32_t { free, filling, queued, reading, ready };
  static constexpr std::uint32_t kStateMask = 7;
  static constexpr std::uint32_t kGone = 8;
  static constexpr std::uint32_t kCopier = 16;
  static constexpr std::uint32_t kBatch = 4;                // chunks in flight
  static constexpr std::uint64_t kAgeMax = 500'000'000ULL;  // ns

  struct Chunk {
    std::atomic<std::uint32_t> word{free};
    // Changed only while `filling`; looked at before the word has been pinned, too.
    std::atomic<FileSource*> source{nullptr};
    std::atomic<std::uint64_t> file{0};  // what tells the source's file from others
    std::atomic<std::uint64_t> first{0};
    std::atomic<std::uint32_t> step{1};
    std::atomic<std::uint32_t> pages{0};
    std::atomic<std::uint32_t> taken{0};     // so many have been asked for: then it is free
    std::atomic<std::uint64_t> number{0};    // of ascending age
    std::atomic<std::uint64_t> begun_ns{0};  // its read
    std::byte* data = nullptr;               // constant

    [[nodiscard]] bool has(const FileSource& of, std::uint64_t index) const noexcept;
    [[nodiscard]] std::uint64_t end() const noexcept {
      return first.load() + (std::uint64_t{pages.load()} - 1) * step.load() + 1;
    }
  };

  explicit ReadAhead(sys::Machine& machine) noexcept : machine_(machine) {}
  [[nodiscard]] static State state_of(std::uint32_t word) noexcept {
    return static_cast<State>(word & kStateMask);
  }
  [[nodiscard]] bool is_known(const FileSource& source, std::uint64_t index) const noexcept;
  Chunk* claim() noexcept;
  bool enqueue(FileSource& source, std::uint64_t first, std::uint32_t step,
               std::uint32_t pages) noexcept;
  bool pin(Chunk& chunk, const FileSource& source, std::uint64_t index) noexcept;
  void unpin(Chunk& chunk, std::uint32_t taken) noexcept;
  void drop(Chunk& chunk) noexcept;
  void read_forever() noexcept;
  bool read_some() noexcept;
  void read(Chunk* const* chunks, std::uint32_t count) noexcept;

  sys::Machine& machine_;
  Address memory_ = 0;
  std::array<Chunk, kChunks> chunks_;
  std::atomic<std::uint64_t> numbers_{0};
  std::atomic<std::uint32_t> work_{0};  // bumped with each that is queued; the thread parks on it
  std::atomic<bool> stop_{false};
  std::unique_ptr<sys::Thread> thread_;
};

}  // namespace holdfast::file
