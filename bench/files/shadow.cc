// file/shadow: what docs/adr/0021 decided for, a journal beside the file, against what it decided
// against, shadow pages in it.
//
// file/shadow/16 and so on set a whole mapping's commits against shadow pages that are told what
// has changed. file/shadow/journal-16 and so on tell both, and so compare the protocols alone.
#include <unistd.h>

#include <string>

#include "comparison.h"
#include "files/commit_side.h"
#include "files/journaled_file.h"
#include "files/page_store.h"
#include "workload.h"

namespace holdfast::bench {
namespace {

enum class Ours : std::uint8_t { mapping, journal, scan };

// A file that a side makes: it goes when both have gone, however they went.
struct FileOfSide {
  const std::string path;
  ~FileOfSide() { unlink(path.c_str()); }
};

std::unique_ptr<Worker> make_ours(const CommitScene& scene, Ours ours) {
  switch (ours) {
    case Ours::mapping:
      return make_mapped_commits(scene);
    case Ours::journal:
      return make_page_commits(scene, make_journal_store);
    case Ours::scan:
      break;
  }
  return make_page_scan(scene, make_journal_store);
}

Result<Outcome> compare(const Run& run, const CommitScene& full, Ours ours) {
  CommitScene scene = full.divided_by(run.scale);
  auto file = JournaledFile::create(scene.pages * kPageBytes);
  if (!file) return std::unexpected(file.error());
  scene.path = file->path();
  const FileOfSide peers{scene.path + ".shadow"};
  CommitScene shadow = scene;
  shadow.path = peers.path;
  const auto make = [&] { return make_ours(scene, ours); };
  if (ours == Ours::scan) {
    return compare_sides(run, Outcome{.unit = "MiB/s", .better = Better::more}, make,
                         [&] { return make_page_scan(shadow, make_shadow_store); });
  }
  return compare_sides(
      run, Outcome{.unit = "ms/commit"}, make,
      [&] { return make_page_commits(shadow, make_shadow_store); },
      {{.part = kOneFlush},
       {.part = kTwoFlushes, .aside = "peer with two flushes"},
       {.part = kOneFlushCached, .aside = "peer by the kernel's cache"},
       {.part = kTwoFlushesCached, .aside = "peer by the kernel's cache, with two flushes"}});
}

}  // namespace

void add_shadow(Registry& registry) {
  constexpr std::uint64_t kPages = 65536;  // 256 MiB
  const auto add = [&](const std::string& name, std::string about, const CommitScene& scene,
                       Ours ours) {
    registry.push_back({"file/shadow/" + name, 0, std::move(about),
                        [scene, ours](const Run& run) { return compare(run, scene, ours); }});
  };
  const auto add_both = [&](std::uint64_t changed, std::uint64_t commits) {
    const std::string count = std::to_string(changed);
    const CommitScene scene{.pages = kPages, .changed = changed, .commits = commits};
    add(count, "commits of " + count + " random pages; peer: shadow pages in plain code", scene,
        Ours::mapping);
    add("journal-" + count, "the same by the journal alone, without an engine", scene,
        Ours::journal);
  };
  add_both(16, 1000);  // so many that the journal comes to its limit in each round
  add_both(4096, 10);
  add("scan", "the cold file in order after 64 commits of 4096 random pages; peer: shadow pages",
      {.pages = kPages, .changed = 4096, .commits = 64}, Ours::scan);
}

}  // namespace holdfast::bench
