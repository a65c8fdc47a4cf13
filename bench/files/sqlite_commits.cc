// The peer: the same pages as rows of an SQLite database.
//
// A row of 4,000 bytes fills a page of 4,096 with what SQLite adds to it, so that one UPDATE
// changes one page, and a commit writes as many pages to the log as ours does, with one fdatasync.
// Its cache holds the whole database. The log is as long as our journal may be before SQLite
// brings it to its end.
#include <fmt/format.h>
#include <unistd.h>

#include <vector>

#include "files/commit_side.h"
#include "workload.h"

#if HOLDFAST_BENCH_SQLITE
#include <sqlite3.h>
#endif

namespace holdfast::bench {

#if HOLDFAST_BENCH_SQLITE

namespace {

constexpr std::uint64_t kSeed = 20;
constexpr std::size_t kRowBytes = 4000;

class SqliteCommits final : public Worker {
 public:
  explicit SqliteCommits(const CommitScene& scene) : scene_(scene), content_(kRowBytes) {}
  ~SqliteCommits() override {
    sqlite3_finalize(update_);
    sqlite3_close(database_);
    for (const char* const suffix : {"", "-wal", "-shm"}) unlink((scene_.path + suffix).c_str());
  }

  Result<void> prepare() override {
    if (sqlite3_open(scene_.path.c_str(), &database_) != SQLITE_OK) return trouble("open");
    const std::string settings = fmt::format(
        "PRAGMA page_size=4096; PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;"
        "PRAGMA wal_autocheckpoint={}; PRAGMA cache_size={}; PRAGMA locking_mode=EXCLUSIVE;"
        "CREATE TABLE pages(id INTEGER PRIMARY KEY, content BLOB NOT NULL);"
        "BEGIN;",
        scene_.journal_limit / kPageBytes, 2 * scene_.pages);
    if (auto set = execute(settings.c_str()); !set) return set;
    if (auto filled = fill(); !filled) return filled;
    if (auto set = execute("COMMIT; PRAGMA wal_checkpoint(TRUNCATE);"); !set) return set;
    return prepare("UPDATE pages SET content=?2 WHERE id=?1");
  }

  Result<double> round(unsigned) override {
    const double start = now_seconds();
    for (std::uint64_t commit = 0; commit < scene_.commits; ++commit) {
      if (auto begun = execute("BEGIN"); !begun) return std::unexpected(begun.error());
      for (std::uint64_t i = 0; i < scene_.changed; ++i) {
        if (auto put = put_row(random_.below(scene_.pages)); !put) {
          return std::unexpected(put.error());
        }
      }
      if (auto durable = execute("COMMIT"); !durable) return std::unexpected(durable.error());
    }
    return (now_seconds() - start) * 1e3 / double(scene_.commits);
  }

  std::string report() override {
    return fmt::format("SQLite {}, journal_mode=WAL, synchronous=FULL, wal_autocheckpoint={}",
                       sqlite3_libversion(), scene_.journal_limit / kPageBytes);
  }

 private:
  std::unexpected<Trouble> trouble(const char* doing) {
    return failure(fmt::format("SQLite cannot {}: {}", doing, sqlite3_errmsg(database_)));
  }
  Result<void> execute(const char* statement) {
    if (sqlite3_exec(database_, statement, nullptr, nullptr, nullptr) != SQLITE_OK) {
      return trouble(statement);
    }
    return {};
  }
  Result<void> prepare(const char* statement) {
    sqlite3_finalize(update_);
    update_ = nullptr;
    if (sqlite3_prepare_v2(database_, statement, -1, &update_, nullptr) != SQLITE_OK) {
      return trouble(statement);
    }
    return {};
  }
  Result<void> fill() {
    if (auto ready = prepare("INSERT INTO pages(id, content) VALUES(?1, ?2)"); !ready) return ready;
    for (std::uint64_t page = 0; page < scene_.pages; ++page) {
      if (auto put = put_row(page); !put) return put;
    }
    return {};
  }
  Result<void> put_row(std::uint64_t page) {
    store_word(content_.data(), random_.next());  // no two are alike
    sqlite3_bind_int64(update_, 1, static_cast<sqlite3_int64>(page));
    sqlite3_bind_blob(update_, 2, content_.data(), int{kRowBytes}, SQLITE_STATIC);
    const bool done = sqlite3_step(update_) == SQLITE_DONE;
    sqlite3_reset(update_);
    if (!done) return trouble("put a row");
    return {};
  }

  const CommitScene scene_;
  std::vector<std::byte> content_;
  sqlite3* database_ = nullptr;
  sqlite3_stmt* update_ = nullptr;
  Random random_{kSeed};
};

}  // namespace

std::unique_ptr<Worker> make_sqlite_commits(const CommitScene& scene) {
  return std::make_unique<SqliteCommits>(scene);
}

#else

namespace {

class NoSqlite final : public Worker {
 public:
  Result<void> prepare() override { return skip("this program was built without libsqlite3-dev"); }
  Result<double> round(unsigned) override { return skip("no SQLite"); }
  std::string report() override { return {}; }
};

}  // namespace

std::unique_ptr<Worker> make_sqlite_commits(const CommitScene&) {
  return std::make_unique<NoSqlite>();
}

#endif

}  // namespace holdfast::bench
