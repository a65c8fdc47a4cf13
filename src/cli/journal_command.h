// `holdfast journal FILE`: what the journal of a mapped file's commits holds, and whether it is
// whole.
//
// Flow: read_journal() -> as_text() or as_json(). It changes nothing and claims nothing: the
// journal of a file to which somebody commits at this moment is seen as it is while it is read.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "file/file.h"

namespace CLI {
class App;
}

namespace holdfast::cli {

// As it was asked.
struct JournalCommand {
  std::string path;  // of the mapped file, or of its journal
  bool pages = false;
  bool json = false;
};

struct JournalCommit {
  std::uint64_t offset = 0;          // of its first part, in the journal
  std::vector<std::uint64_t> pages;  // of the file, as they come
};

struct JournalReport {
  std::string path;     // of the journal
  bool there = false;   // false: no journal, so nothing to bring to an end
  std::string problem;  // why it cannot be used; empty: it can
  file::JournalSummary summary;
  std::string file;                    // to which it should belong; empty: that is gone
  bool is_others = false;              // it belongs to another file
  std::vector<JournalCommit> commits;  // whole ones
};

// Errors: not_found (neither the file nor a journal of it), permission, io_error, system. What is
// wrong with the journal itself stands in the report.
[[nodiscard]] Expected<JournalReport> read_journal(const std::string& path);
[[nodiscard]] std::string as_text(const JournalReport& report, bool pages);
[[nodiscard]] std::string as_json(const JournalReport& report);

// Defines the flags.
void declare(CLI::App& app, JournalCommand& command);
// Does it; the exit status: 0, 1 where the journal cannot be used or read.
[[nodiscard]] int run(const JournalCommand& command);

}  // namespace holdfast::cli
