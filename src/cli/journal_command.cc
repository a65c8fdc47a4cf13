#include "cli/journal_command.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "sys/sys.h"

namespace holdfast::cli {
namespace {

using file::Journal;
using file::JournalReader;
using file::JournalSummary;

constexpr int kNo = 1;

constexpr const char* kFooter = R"(
Description:
  A file that is mapped with FileOptions::commits has a journal beside it, FILE.holdfast-journal, in
  which each commit is durable before it reaches the file. A crash leaves it there, and the next
  map_file brings it to its end: every commit that is whole reaches the file, the one that was under
  way is ignored. This says what that will be. It changes nothing.

Exit status:
  0      the journal is whole, or there is none
  1      it is damaged, of another file or version, or cannot be read
  2      wrong usage

Examples:
  holdfast journal /data/ledger
  holdfast journal --pages /data/ledger.holdfast-journal)";

// The memory that a reader works in.
class ReaderBuffer {
 public:
  static Expected<ReaderBuffer> create() {
    return ReaderBuffer(TRY(sys::real_machine().reserve(kBytes, kPageSize, sys::Purpose::table)));
  }
  ReaderBuffer(ReaderBuffer&& other) noexcept : at_(std::exchange(other.at_, 0)) {}
  ReaderBuffer& operator=(ReaderBuffer&&) = delete;
  ReaderBuffer(const ReaderBuffer&) = delete;
  ReaderBuffer& operator=(const ReaderBuffer&) = delete;
  ~ReaderBuffer() {
    if (at_ != 0) sys::real_machine().release(at_, kBytes);
  }
  [[nodiscard]] std::byte* data() const { return sys::real_machine().view(at_); }

 private:
  static constexpr std::uint64_t kBytes = JournalReader::kBufferPages * kPageSize;
  explicit ReaderBuffer(Address at) : at_(at) {}
  Address at_;
};

// The names of a journal and of its file, whichever of them was given.
struct Names {
  std::string file;
  std::string journal;
};
Names names_of(const std::string& path) {
  const std::string suffix = Journal::path_for("");
  if (!path.ends_with(suffix)) return {path, Journal::path_for(path)};
  return {path.substr(0, path.size() - suffix.size()), path};
}

Expected<std::unique_ptr<sys::DataFile>> open_to_read(const std::string& path) {
  return sys::real_machine().open_data_file({.path = path, .cached = true});
}

// What is wrong with what was read, and not with the reading of it.
bool is_verdict(Errc code) { return code == Errc::corrupted || code == Errc::unsupported; }

Expected<std::vector<JournalCommit>> commits_of(JournalReader& reader, std::uint64_t end) {
  std::vector<JournalCommit> commits;
  file::JournalCursor cursor = reader.start();
  JournalCommit commit{.offset = cursor.position, .pages = {}};
  while (cursor.position < end) {
    const file::PartHeader* const part = TRY(reader.next(cursor));
    if (part == nullptr) break;  // somebody has begun it anew
    for (std::uint32_t i = 0; i < part->pages; ++i) commit.pages.push_back(part->page[i].index);
    if (part->pages != 0) continue;
    commits.push_back(std::exchange(commit, {.offset = cursor.position, .pages = {}}));
  }
  return commits;
}

bool belongs_to(const JournalSummary& journal, const sys::FileIdentity& file) {
  const bool begun = journal.header.salt != 0;
  return !begun || (journal.header.inode == file.inode && journal.header.born_ns == file.born_ns);
}

void add_line(std::string& text, const char* key, const std::string& value) {
  text += fmt::format("  {:<10} {}\n", key, value);
}

std::string count_text(std::uint64_t count, const char* what) {
  return fmt::format("{} {}{}", count, what, count == 1 ? "" : "s");
}

std::string kib_text(std::uint64_t bytes) { return fmt::format("{} KiB", bytes >> 10); }

void add_pages(std::string& text, const JournalReport& report) {
  for (std::size_t i = 0; i < report.commits.size(); ++i) {
    const JournalCommit& commit = report.commits[i];
    text += fmt::format("  commit {} at {}: pages", i + 1, commit.offset);
    for (const std::uint64_t page : commit.pages) text += fmt::format(" {}", page);
    text += '\n';
  }
}

std::string verdict(const JournalReport& report) {
  if (!report.problem.empty()) return "cannot be used: " + report.problem;
  if (report.is_others) return "cannot be used: it belongs to another file";
  if (report.summary.commits == 0) return "whole: the file holds its last commit";
  return "whole: the next mapping of the file brings " +
         count_text(report.summary.commits, "commit") + " to it";
}

}  // namespace

Expected<JournalReport> read_journal(const std::string& path) {
  const Names names = names_of(path);
  JournalReport report;
  report.path = names.journal;
  const auto data = open_to_read(names.file);
  if (data) report.file = names.file;
  auto journal = open_to_read(names.journal);
  if (!journal && journal.error().code == Errc::not_found && data) return report;
  if (!journal) return std::unexpected(journal.error());
  report.there = true;
  const ReaderBuffer buffer = TRY(ReaderBuffer::create());
  JournalReader reader(**journal, buffer.data());
  const auto summary = reader.summarize();
  if (!summary && !is_verdict(summary.error().code)) return std::unexpected(summary.error());
  if (!summary) {
    report.problem = summary.error().message();
    return report;
  }
  report.summary = *summary;
  report.is_others = data && !belongs_to(*summary, (*data)->identity());
  report.commits = TRY(commits_of(reader, summary->end.position));
  return report;
}

std::string as_text(const JournalReport& report, bool pages) {
  std::string text = report.path + "\n";
  if (!report.there) return text + "there is none: the file holds its last commit\n";
  const JournalSummary& summary = report.summary;
  if (report.problem.empty() && summary.header.salt == 0) {
    add_line(text, "format", "none: it was made, and never begun");
  } else if (report.problem.empty()) {
    add_line(text, "format", fmt::format("version {}", summary.header.version));
    add_line(text, "of",
             fmt::format("inode {}{}", summary.header.inode,
                         report.is_others      ? ", which is not the file beside it"
                         : report.file.empty() ? ": the file beside it is gone"
                                               : ", " + report.file));
    add_line(text, "commits",
             fmt::format("{} whole, of {} in {}", summary.commits,
                         count_text(summary.pages, "page"), kib_text(summary.end.position)));
    if (summary.torn_parts != 0) {
      add_line(text, "under way",
               count_text(summary.torn_parts, "part") + " of a commit that was never finished");
    }
    add_line(text, "file", kib_text(summary.file_bytes));
    if (pages) add_pages(text, report);
  }
  return text + verdict(report) + "\n";
}

std::string as_json(const JournalReport& report) {
  nlohmann::json commits = nlohmann::json::array();
  for (const JournalCommit& commit : report.commits) {
    commits.push_back({{"offset", commit.offset}, {"pages", commit.pages}});
  }
  const nlohmann::json json = {{"path", report.path},
                               {"there", report.there},
                               {"usable", report.problem.empty() && !report.is_others},
                               {"problem", report.problem},
                               {"of_another_file", report.is_others},
                               {"version", report.summary.header.version},
                               {"inode", report.summary.header.inode},
                               {"bytes", report.summary.file_bytes},
                               {"bytes_used", report.summary.end.position},
                               {"unfinished_parts", report.summary.torn_parts},
                               {"commits", commits}};
  return json.dump() + "\n";
}

void declare(CLI::App& app, JournalCommand& command) {
  app.footer(kFooter);
  app.add_option("FILE", command.path, "the mapped file, or its journal")->required();
  app.add_flag("--pages", command.pages, "list the pages of each commit");
  app.add_flag("--json", command.json, "print one JSON object");
}

int run(const JournalCommand& command) {
  const auto report = read_journal(command.path);
  if (!report) {
    std::fprintf(stderr, "holdfast: journal: %s: %s\n", command.path.c_str(),
                 report.error().message().c_str());
    return kNo;
  }
  std::fputs((command.json ? as_json(*report) : as_text(*report, command.pages)).c_str(), stdout);
  return report->problem.empty() && !report->is_others ? 0 : kNo;
}

}  // namespace holdfast::cli
