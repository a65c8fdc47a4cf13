// Whoever keeps pages of memory in a file and makes changes of them durable as a whole: the two
// protocols that docs/adr/0021 weighs, without an engine around them. Each is told which pages have
// changed; finding that out is no part of it.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "files/commit_side.h"
#include "trouble.h"

namespace holdfast::bench {

// How a commit by shadow pages becomes durable (files/shadow_file.h). The journal has one way.
enum ShadowPart : unsigned { kOneFlush, kTwoFlushes, kOneFlushCached, kTwoFlushesCached };

class PageStore {
 public:
  virtual ~PageStore() = default;
  // Brings all pages to the file: page i is at content[i * kPageBytes], here and later.
  [[nodiscard]] virtual Result<void> create(std::byte* content) = 0;
  // Before a series of commits of that part; not measured.
  [[nodiscard]] virtual Result<void> get_ready_for(ShadowPart part) = 0;
  // These pages, ascending and each once, are durable as a whole when it returns.
  [[nodiscard]] virtual Result<void> commit(std::span<const std::uint32_t> pages,
                                            ShadowPart part) = 0;
  // Afterwards what was committed stands in the file, where offset_of() says.
  [[nodiscard]] virtual Result<void> bring_up_to_date() = 0;
  [[nodiscard]] virtual std::uint64_t offset_of(std::uint32_t page) const = 0;
  [[nodiscard]] virtual std::string report() = 0;
};

using MakePageStore = std::unique_ptr<PageStore> (*)(const CommitScene& scene);

// The engine's own journal (file::Journal) beside the scene's file, which is there.
[[nodiscard]] std::unique_ptr<PageStore> make_journal_store(const CommitScene& scene);
// Shadow pages in a file that is made at the scene's path, and left there. It has as many free
// places as the journal may have bytes, so that both take the same room.
[[nodiscard]] std::unique_ptr<PageStore> make_shadow_store(const CommitScene& scene);

// Rounds are the scene's commits, of the same random pages as make_mapped_commits(); ms a commit.
[[nodiscard]] std::unique_ptr<Worker> make_page_commits(const CommitScene& scene,
                                                        MakePageStore make);
// Makes the scene's commits once; then rounds read the cold file, page after page; MiB/s.
[[nodiscard]] std::unique_ptr<Worker> make_page_scan(const CommitScene& scene, MakePageStore make);

}  // namespace holdfast::bench
