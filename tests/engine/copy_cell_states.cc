// Bringing the page of a cell into its state, and the proof that it is in it.
#include <gtest/gtest.h>

#include "engine/copy_cell.h"
#include "engine/copy_content.h"
#include "engine/real_engine.h"

namespace holdfast::engine::test {

using space::EntryKind;

void CellPlayer::prepare() {
  parent_ = take(engine_->map_anonymous(kCellRegionPages * kPageSize));
  ASSERT_TRUE(parent_);
  ASSERT_TRUE(parent_.advise(0, parent_.size(), Advice::random));  // nothing but what is touched
  before_ = bytes_of(kOldKey);
  if (cell_.rule.state == PageIs::same_filled) before_ = filled_with(kFilling);
  if (cell_.rule.state == PageIs::never_touched) before_ = {};
  PageBytes zeros;
  // The leaf has been touched, whatever becomes of the page.
  EXPECT_TRUE(world_.load(page_at(parent_, kOtherCellPage), zeros));
  EXPECT_TRUE(parent_.advise(kOtherCellPage * kPageSize, kPageSize, Advice::free));
  if (cell_.rule.state != PageIs::never_touched) {
    EXPECT_TRUE(world_.store(in_parent(), before_));
  }
  switch (cell_.rule.state) {
    case PageIs::shared:
      elder_ = take(engine_->snapshot(parent_));
      EXPECT_TRUE(elder_.read(0, std::span(zeros)));  // who shares what is written down only then
      break;
    case PageIs::cached_clean:
      evict_all();
      EXPECT_TRUE(world_.load(in_parent(), zeros));
      make_cached();
      break;
    case PageIs::cached_dirty:
      make_cached();
      break;
    case PageIs::under_write_out:
      begin_write_out();
      break;
    case PageIs::swapped:
    case PageIs::same_filled:
      evict_all();
      break;
    case PageIs::pinned_read_only:
      pin_parent(Access::read);
      break;
    case PageIs::pinned_read_write:
      pin_parent(Access::write);
      break;
    default:
      break;
  }
  parents_ = childs_ = before_;
  copied_before_ = copied();
}

void CellPlayer::make_cached() {
  const sync::EngineScope scope;
  EXPECT_GE(space().evictor().unmap_window_of(record(), kCellPage).pages, 1u);
}

// On its way to the swap file, until the gate opens.
void CellPlayer::begin_write_out() {
  world_.gate().shut();
  auto thread = world_.machine().start_thread(
      "writer", [](void* engine) { (void)static_cast<Engine*>(engine)->reclaim(1); },
      engine_.get());
  ASSERT_TRUE(thread) << thread.error().message();
  writer_ = std::move(*thread);
  world_.wait_until([&] { return world_.gate().is_somebody_waiting(); });
}

// By the pin that the program takes, or by that of a transfer which waits for a stream.
void CellPlayer::pin_parent(Access access) {
  if (cell_.unpin == Unpin::in_completion && access == Access::write) {
    stream_ = world_.make_stream();
    const Buffer half(in_parent() + kHalf, kHalf);
    from_stream_.done = from_stream_.whole = false;
    from_stream_.unpins = &pins_;
    submit(AioRequest::read(stream_, {&half, 1}), from_stream_);
    return;
  }
  auto pin = engine_->pin(in_parent(), kPageSize, access);
  ASSERT_TRUE(pin) << pin.error().message();
  pins_.push_back(std::move(*pin));
}

// It is in that state indeed.
void CellPlayer::verify_state() {
  const EntryKind kind = record().entry(kCellPage).peek().kind();
  const page::Page* const page = parent_page();
  const Stats stats = engine_->stats();
  switch (cell_.rule.state) {
    case PageIs::exclusive:
      ASSERT_EQ(kind, EntryKind::resident);
      EXPECT_EQ(page->count(), 2u) << "the VM's and the entry's";
      break;
    case PageIs::shared:
      ASSERT_EQ(kind, EntryKind::resident);
      EXPECT_EQ(page->count(), 3u) << "and its version's";
      break;
    case PageIs::cached_clean:
      ASSERT_EQ(kind, EntryKind::cached);
      EXPECT_EQ(stats.slots_used, 1u) << "what it was read from";
      break;
    case PageIs::cached_dirty:
      ASSERT_EQ(kind, EntryKind::cached);
      EXPECT_EQ(stats.slots_used, 0u);
      break;
    case PageIs::under_write_out:
      ASSERT_EQ(kind, EntryKind::cached);
      EXPECT_TRUE(world_.gate().is_somebody_waiting());
      break;
    case PageIs::swapped:
      ASSERT_EQ(kind, EntryKind::swapped);
      EXPECT_EQ(stats.slots_used, 1u);
      break;
    case PageIs::pinned_read_only:
    case PageIs::pinned_read_write:
      ASSERT_EQ(kind, EntryKind::resident);
      EXPECT_EQ(page->pins(), 1u);
      EXPECT_EQ(page->count(), 3u);
      break;
    case PageIs::same_filled:
      ASSERT_EQ(kind, EntryKind::filled);
      EXPECT_EQ(stats.slots_used, 0u);
      break;
    case PageIs::never_touched:
      ASSERT_EQ(kind, EntryKind::none);
      break;
  }
}

}  // namespace holdfast::engine::test
