#include "engine/file_table.h"

#include <algorithm>
#include <cerrno>
#include <utility>

#include "engine/file_handle.h"
#include "engine/paging_engine.h"

namespace holdfast::engine {

namespace {

constexpr const char* kDoing = "map file";
// When the background comes again where somebody else had the turn: it is in no hurry.
constexpr std::uint64_t kBusyNs = 20'000'000;

std::unexpected<Error> refused(Errc code, const char* what, std::uint64_t value,
                               std::uint64_t limit, const char* remedy) {
  return fail({.code = code,
               .doing = kDoing,
               .what = what,
               .value = value,
               .limit = limit,
               .remedy = remedy});
}

Expected<void> claim(sys::DataFile& data) {
  const int error = data.try_claim();
  if (error == 0) return {};
  return fail({.code = error == EWOULDBLOCK ? Errc::busy : Errc::system,
               .os_errno = error,
               .doing = kDoing,
               .what = "the file, which somebody else has mapped with commits",
               .remedy = "one process at a time commits to a file"});
}

Expected<void> check(const FileOptions& options) {
  const bool shared = options.mode == FileMode::shared;
  const bool writes = options.create || options.commits || options.at_least != 0;
  if (!shared && (writes || options.capacity != 0)) {
    return refused(Errc::invalid_argument, "create, commits, at_least or capacity", 0, 0,
                   "these go with FileMode::shared alone");
  }
  return {};
}

// Where the view lies in the file. Errors: it does not.
Expected<std::uint64_t> view_bytes(const FileOptions& options, std::uint64_t file_bytes) {
  if (options.offset >= file_bytes) {
    return refused(Errc::invalid_argument, "offset", options.offset, file_bytes,
                   "begin inside the file; at_least makes it longer");
  }
  const std::uint64_t most = file_bytes - options.offset;
  if (options.bytes > most) {
    return refused(Errc::invalid_argument, "bytes", options.bytes, most,
                   "end inside the file; at_least makes it longer");
  }
  return options.bytes == 0 ? most : options.bytes;
}

}  // namespace

Expected<FileMapping> FileTable::map(PagingEngine& engine, const FileLocation& where,
                                     const FileOptions& options) {
  TRY_VOID(check(options));
  const sync::TurnGuard turn(turn_);
  MappedFile* const file = TRY(open(engine, where, options));
  const auto bytes = view_bytes(options, file->bytes());
  if (!bytes) {
    close_unused_now(engine);
    return std::unexpected(bytes.error());
  }
  ++file->views;
  return FileMapping(new FileHandle(engine, *file, options.offset, *bytes));
}

// The file, found or mapped now; in the table either way.
Expected<MappedFile*> FileTable::open(PagingEngine& engine, const FileLocation& where,
                                      const FileOptions& options) {
  const bool shared = options.mode == FileMode::shared;
  auto data = TRY(machine_.open_data_file({.path = where.path,
                                           .fd = where.fd,
                                           .use = shared ? sys::FileUse::write : sys::FileUse::read,
                                           .create = options.create}));
  MappedFile* const known = find(data->identity());
  if (known != nullptr && options.mode != FileMode::private_copy) return share(*known, options);
  if (known != nullptr && known->mode() == FileMode::shared && !known->has_commits()) {
    // What it has is the file. (With commits the file has what was committed, and gets no more.)
    TRY_VOID(known->write_back(0, known->record().page_count(), false));
  }
  if (options.commits) TRY_VOID(claim(*data));
  if (known == nullptr && !options.commits) TRY_VOID(recover(*data, options));
  std::uint64_t bytes = 0;
  int error = data->size(bytes);
  if (error == 0 && bytes < options.at_least) {
    error = data->resize(options.at_least);
    if (error == 0) error = data->sync();
    bytes = options.at_least;
  }
  if (error != 0) return fail(file_trouble(error, bytes, kDoing));
  if (bytes == 0) {
    return refused(Errc::invalid_argument, "bytes of the file", 0, 0,
                   "an empty file has nothing to map: at_least makes it longer");
  }
  const std::uint64_t capacity = std::max(bytes, options.capacity);
  TRY_VOID(engine.check_region(kDoing, bytes, capacity));
  if (ahead_ == nullptr) {
    ahead_ = TRY(file::ReadAhead::create(machine_));
    overhead_bytes_.store(file::ReadAhead::kMemory);
  }
  files_.push_back(TRY(MappedFile::create(machine_, engine.space(), *ahead_, std::move(data),
                                          {.mode = options.mode,
                                           .commits = options.commits,
                                           .bytes = bytes,
                                           .capacity = capacity,
                                           .journal_limit = options.journal_limit,
                                           .pace = pace_})));
  MappedFile* const file = files_.back().get();
  if (file->is_written_in_background()) wanted_.store(true, std::memory_order_release);
  return file;
}

// What a crash has left of commits is brought to its end, whoever maps the file next. As long as
// somebody else has it mapped with commits the journal is his: what he has committed can be read.
Expected<void> FileTable::recover(sys::DataFile& data, const FileOptions& options) {
  if (data.path().empty()) return {};
  const std::string path = file::Journal::path_for(data.path());
  const auto there = machine_.open_data_file({.path = path});
  if (!there) {
    return there.error().code == Errc::not_found ? Expected<void>()
                                                 : std::unexpected(there.error());
  }
  const auto writable = TRY(
      machine_.open_data_file({.path = data.path(), .use = sys::FileUse::write, .cached = true}));
  if (writable->try_claim() != 0) {
    if (options.mode != FileMode::shared) return {};
    return refused(Errc::busy, "the file, which somebody else has mapped with commits", 0, 0,
                   "map it when he has unmapped it, or not shared");
  }
  if (writable->identity() != data.identity()) {
    return refused(Errc::busy, "the file, which was just replaced by another", 0, 0, "try again");
  }
  auto journal = TRY(file::Journal::open(machine_, path, *writable));
  return journal->close();
}

Expected<MappedFile*> FileTable::share(MappedFile& file, const FileOptions& options) {
  if (options.mode == FileMode::shared && file.mode() != FileMode::shared) {
    return refused(Errc::busy, "the file, of which a read-only mapping, or a copy of one, is left",
                   0, 0, "map it shared first: a read-only mapping is then the same memory");
  }
  if (options.mode == FileMode::shared && options.commits != file.has_commits()) {
    return refused(Errc::busy, "the file is mapped with commits, or without", file.has_commits(), 0,
                   "all mappings of a file agree on FileOptions::commits");
  }
  if (options.capacity > file.capacity()) {
    return refused(Errc::busy, "capacity", options.capacity, file.capacity(),
                   "the first mapping of a file says how long it may grow");
  }
  // Left by its last mapping, for its snapshots' sake: what that could not write is tried again.
  if (file.views == 0) TRY_VOID(file.rest());
  if (options.at_least > file.bytes()) TRY_VOID(file.resize(options.at_least));
  return &file;
}

MappedFile* FileTable::find(const sys::FileIdentity& identity) noexcept {
  for (const auto& file : files_) {
    if (file->mode() != FileMode::private_copy && file->identity() == identity) return file.get();
  }
  return nullptr;
}

Expected<void> FileTable::unmap(PagingEngine& engine, MappedFile& file, bool lose) {
  const sync::TurnGuard turn(turn_);
  if (file.views > 1) {
    --file.views;
    return {};
  }
  const bool stays = file.has_copies();
  const auto closed = stays ? file.rest() : file.close();
  if (!closed && !lose) return closed;
  engine.ready().leave(file.record());
  --file.views;
  if (!stays) std::erase_if(files_, [&](const auto& own) { return own.get() == &file; });
  return closed;
}

void FileTable::close_unused(PagingEngine& engine) noexcept {
  const sync::TurnGuard turn(turn_);
  close_unused_now(engine);
}

void FileTable::close_unused_now(PagingEngine& engine) noexcept {
  std::erase_if(files_, [&](const auto& file) {
    if (file->views > 0 || file->has_copies()) return false;
    const auto closed = file->close();
    if (!closed) engine.print(("holdfast: close a file: " + closed.error().message()).c_str());
    return true;
  });
}

void FileTable::end() noexcept {
  const sync::TurnGuard turn(turn_);
  std::erase_if(files_, [](const auto& file) {
    if (file->views > 0) return false;
    (void)file->close();  // it was at rest
    return true;
  });
}

// --- in the background ---

// Null: there is none. others_ns: when the time of the next one behind it comes.
MappedFile* FileTable::first_due(std::uint64_t& others_ns) noexcept {
  MappedFile* first = nullptr;
  for (const auto& file : files_) {
    if (!file->is_written_in_background()) continue;
    MappedFile* const behind = first == nullptr || file->pacer().due_ns() < first->pacer().due_ns()
                                   ? std::exchange(first, file.get())
                                   : file.get();
    if (behind != nullptr) others_ns = std::min(others_ns, behind->pacer().due_ns());
  }
  return first;
}

std::uint64_t FileTable::do_some() noexcept {
  const sync::EngineScope scope;
  const std::uint64_t now = machine_.now_ns();
  std::uint64_t others = now + pace_.interval_ns;  // that of a file that is mapped from now on
  if (!turn_.try_take()) return now + kBusyNs;
  MappedFile* const file = first_due(others);
  if (file == nullptr || file->pacer().due_ns() > now) {
    if (file != nullptr) others = std::min(others, file->pacer().due_ns());
    turn_.give();
    return others;
  }
  // Who unmaps the file waits for its turn, and then it is gone: but not the source and the turn.
  const object::SourceRef source(&file->source());
  const bool ours = source->turn().try_take();
  if (!ours) file->pacer().postpone(now + kBusyNs);
  std::uint64_t due = file->pacer().due_ns();
  turn_.give();
  if (ours) {
    due = file->write_some(counters_);
    source->turn().give();
  }
  return std::min(others, due);
}

std::uint32_t FileTable::views_of(const MappedFile& file) noexcept {
  const sync::TurnGuard turn(turn_);
  return file.views;
}

}  // namespace holdfast::engine
