// A file of pages and its journal on a simulated disk, for tests that crash it.
#pragma once

#include <gtest/gtest.h>

#include <cstring>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "file/file.h"
#include "sys/sim.h"

namespace holdfast::file::test {

using sys::CrashStyle;
using sys::FailureKind;
using sys::Repeat;
using sys::SimDisk;

inline const std::string kData = "/data/file";
inline const std::string kJournal = Journal::path_for(kData);
inline constexpr std::uint64_t kPages = 24;
inline constexpr std::uint64_t kBytes = kPages * kPageSize - 1000;  // it ends in mid-page

// Which version each page is of; its content follows from that.
using Versions = std::vector<std::uint64_t>;

inline void fill(std::byte* page, std::uint64_t index, std::uint64_t version) {
  for (std::uint64_t w = 0; w < kPageSize / 8; ++w) {
    const std::uint64_t value = (index * 1000003 + version) * 0x9e3779b97f4a7c15ULL + w;
    std::memcpy(page + w * 8, &value, 8);
  }
}

inline SimDisk::Bytes file_of(const Versions& versions) {
  SimDisk::Bytes bytes(kPages * kPageSize);
  for (std::uint64_t i = 0; i < kPages; ++i) fill(bytes.data() + i * kPageSize, i, versions[i]);
  bytes.resize(kBytes);
  return bytes;
}

// Used from the test's own thread, for a journal has one user at a time: no schedules to explore.
class JournalWorld {
 public:
  explicit JournalWorld(std::uint64_t seed) : machine({.seed = seed}) {}

  // Opens file and journal, which recovers.
  Expected<void> open() {
    journal.reset();
    data = TRY(machine.open_data_file({.path = kData, .use = sys::FileUse::write}));
    journal = TRY(Journal::open(machine, kJournal, *data));
    return {};
  }
  // Commits the pages with those versions, in parts of `part` pages.
  Expected<void> commit(const std::map<std::uint64_t, std::uint64_t>& changes,
                        std::size_t part = kPartPages) {
    std::vector<object::PageWrite> pages;
    std::vector<base::Hash128> hashes;
    SimDisk::Bytes content(changes.size() * kPageSize);
    for (const auto& [index, version] : changes) {
      std::byte* const page = content.data() + pages.size() * kPageSize;
      fill(page, index, version);
      pages.push_back({.index = index, .content = page});
      hashes.push_back(base::hash_page(page));
    }
    for (std::size_t at = 0; at < pages.size(); at += part) {
      const std::size_t count = std::min(part, pages.size() - at);
      auto added = journal->append(std::span(pages).subspan(at, count),
                                   std::span(hashes).subspan(at, count), kBytes);
      if (!added) {
        journal->abandon();
        return added;
      }
    }
    return journal->seal();
  }

  sys::SimMachine machine;
  std::unique_ptr<sys::DataFile> data;
  std::unique_ptr<Journal> journal;
};

// What the next mapping finds on that disk; an error if the journal is refused.
inline Expected<SimDisk::Bytes> recovered(const SimDisk::Files& files, std::uint64_t seed) {
  JournalWorld world(seed);
  world.machine.disk().put(files);
  const Expected<void> opened = world.open();
  if (!opened) return std::unexpected(opened.error());
  return world.machine.disk().bytes(kData);
}

}  // namespace holdfast::file::test
