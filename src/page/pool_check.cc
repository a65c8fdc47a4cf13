// check() and dump_holders(): the pool proves its equation, and names who holds a page.
#include <cstring>

#include "page/frame_pool.h"

namespace holdfast::page {

// One run of check(): marks every frame that it finds, and finds none twice.
class PoolCheck {
 public:
  explicit PoolCheck(FramePool& pool) noexcept : pool_(pool) {
    std::memset(pool.bitmap_, 0, (pool.pages_.size() + 63) / 64 * sizeof(std::uint64_t));
  }

  [[nodiscard]] bool run() noexcept {
    return walk_stacks() && walk_buddy() && walk_deferred() && walk_charged() && walk_rest() &&
           compare();
  }

 private:
  bool say(const char* what, std::uint64_t a, std::uint64_t b) noexcept {
    char line[160];
    base::Text text(line, sizeof line);
    text.add("holdfast: frame pool: ").add(what).add(" (").add(a).add(", ").add(b).add(")");
    pool_.machine_.print_line(line);
    return false;
  }

  bool mark(std::uint64_t index, PageState state) noexcept {
    const Page& page = pool_.pages_[index];
    std::uint64_t& word = pool_.bitmap_[index / 64];
    const std::uint64_t bit = std::uint64_t{1} << index % 64;
    if ((word & bit) != 0) return say("a frame is in two places", index, 0);
    word |= bit;
    if (page.count() != 0) return say("a listed frame is held", index, page.count());
    if (page.state() != state) {
      return say("a listed frame's state", index, static_cast<std::uint64_t>(page.state()));
    }
    if (page.lru_list() != LruList::none) return say("a free frame is on an LRU list", index, 0);
    if (!page.owner().is_none() || !page.slot().is_none()) {
      return say("a free frame remembers its content", index, page.slot().value);
    }
    return true;
  }
  [[nodiscard]] bool marked(std::uint64_t index) const noexcept {
    return (pool_.bitmap_[index / 64] >> index % 64 & 1) != 0;
  }
  bool mark_block(std::uint64_t index, unsigned order) noexcept {
    const std::uint64_t frames = std::uint64_t{1} << order;
    if (index % frames != 0 || index + frames > pool_.pages_.size()) {
      return say("a block is not aligned or too long", index, order);
    }
    for (std::uint64_t i = index; i < index + frames; ++i) {
      if (!mark(i, PageState::free)) return false;
    }
    return true;
  }

  bool walk_stacks() noexcept {
    const bool sound = pool_.stacks_.for_each([&](std::uint32_t index) {
      ++free_;
      const Page& page = pool_.pages_[index];
      return page.order() == 0 && !page.has_home_memory() && mark(index, PageState::free);
    });
    return sound || say("a CPU's stack is damaged", free_, 0);
  }

  bool walk_buddy() noexcept {
    sync::MutexGuard guard(pool_.buddy_.mutex);
    pool_.buddy_.describe_all();
    std::uint64_t frames = 0;
    const bool sound = pool_.buddy_.for_each([&](std::uint32_t index, unsigned order) {
      frames += std::uint64_t{1} << order;
      return mark_block(index, order);
    });
    if (!sound) return say("a buddy list is damaged", frames, 0);
    if (frames != pool_.buddy_.free_frames()) {
      return say("buddy lists: found, counted", frames, pool_.buddy_.free_frames());
    }
    free_ += frames;
    return true;
  }

  bool walk_deferred() noexcept {
    std::uint64_t frames = 0;
    for (std::uint32_t i = pool_.deferred_.front(); i != base::kNoLink;) {
      const unsigned order = pool_.pages_[i].order();
      if (!mark_block(i, order)) return false;
      frames += std::uint64_t{1} << order;
      i = Page::Links::next(pool_.pages_[i]).load(std::memory_order_relaxed);
    }
    if (frames != pool_.deferred_count()) {
      return say("deferred: found, counted", frames, pool_.deferred_count());
    }
    return true;
  }

  bool walk_charged() noexcept {
    std::uint64_t frames = 0;
    for (std::uint32_t i = pool_.charged_.front(); i != base::kNoLink; ++frames) {
      if (!mark(i, PageState::charged)) return false;
      i = Page::Links::next(pool_.pages_[i]).load(std::memory_order_relaxed);
    }
    if (frames != pool_.charged_.size()) {
      return say("charged: found, counted", frames, pool_.charged_.size());
    }
    return true;
  }

  // What no list has: pages in use, warm frames, and those promised to reservations.
  bool walk_rest() noexcept {
    for (std::uint64_t i = 0; i < pool_.pages_.size();) {
      const Page& page = pool_.pages_[i];
      const std::uint64_t frames = std::uint64_t{1} << page.order();
      if (marked(i)) {
        ++i;
        continue;
      }
      if (page.count() != 0) {
        if (page.pins() > page.count()) return say("more pins than references", i, page.pins());
        if (!is_alone(i, frames)) return say("part of a block in use is free", i, frames);
        used_ += frames;
        i += frames;
        continue;
      }
      if (page.state() == PageState::warm) {
        ++warm_;
      } else if (page.state() == PageState::free) {
        ++reserved_;
      } else {
        return say("count 0, and neither free nor warm", i,
                   static_cast<std::uint64_t>(page.state()));
      }
      ++i;
    }
    return true;
  }
  [[nodiscard]] bool is_alone(std::uint64_t head, std::uint64_t frames) const noexcept {
    if (head + frames > pool_.pages_.size()) return false;
    for (std::uint64_t i = head + 1; i < head + frames; ++i) {
      if (marked(i) || pool_.pages_[i].count() != 0) return false;
    }
    return true;
  }

  bool compare() noexcept {
    const FrameCounts counts = pool_.counts();
    if (counts.free != free_) return say("free: found, counted", free_, counts.free);
    if (counts.warm != warm_) return say("warm: found, counted", warm_, counts.warm);
    if (counts.reserved != reserved_) {
      return say("reserved: found, counted", reserved_, counts.reserved);
    }
    if (counts.used != used_) return say("used: found, counted", used_, counts.used);
    const std::uint64_t sum = free_ + counts.deferred + reserved_ + counts.charged + warm_ + used_;
    return sum == counts.total || say("frames: found, there are", sum, counts.total);
  }

  FramePool& pool_;
  std::uint64_t free_ = 0;
  std::uint64_t reserved_ = 0;
  std::uint64_t warm_ = 0;
  std::uint64_t used_ = 0;
};

bool FramePool::check() noexcept { return PoolCheck(*this).run(); }

void FramePool::dump_holders(const Page& page) noexcept {
  const FrameIndex frame = index_of(page);
  char line[160];
  base::Text head(line, sizeof line);
  head.add("holdfast: frame ").add(frame.value).add(": ").add(name(page.state()));
  head.add(", count ").add(page.count()).add(", pins ").add(page.pins());
  if constexpr (!kHoldfastDebug) head.add(" (debug builds name the holders)");
  machine_.print_line(line);
  for (int kind = 0; kind < kHolderKinds; ++kind) {
    const auto holder = static_cast<Holder>(kind);
    const std::uint32_t count = holders_.count(frame, holder);
    if (count == 0) continue;
    base::Text text(line, sizeof line);
    text.add("  held by ").add(name(holder)).add(": ").add(count);
    machine_.print_line(line);
  }
  for (std::size_t i = 0; i < HolderTable::kSites; ++i) {
    Holder holder{};
    const std::uint64_t address = holders_.site(frame, i, holder);
    if (address == 0) continue;
    base::Text text(line, sizeof line);
    text.add("  taken by ").add(name(holder)).add(" at ").add_hex(address);
    machine_.print_line(line);
  }
}

}  // namespace holdfast::page
