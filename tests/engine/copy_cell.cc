#include "engine/copy_cell.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>

#include "aio/aio.h"
#include "engine/copy_content.h"
#include "engine/engine_on.h"
#include "engine/real_engine.h"
#include "engine/region_handle.h"

namespace holdfast::engine::test {
namespace {

Options options() {
  Options options;
  options.memory_budget = kBudget;
  options.window_pages = 32;
  options.background_reclaim = false;  // pages leave when the test says so
  options.swap = {file_tier(SwapIo::automatic, 0, SwapCompression::none)};
  return options;
}

}  // namespace

CellPlayer::CellPlayer(CopyWorld& world) : world_(world) {
  auto engine = create_on(world.machine(), options());
  if (!engine) {
    ADD_FAILURE() << engine.error().message();
    return;
  }
  engine_ = std::move(*engine);
  aio_ = std::move(*aio::create_on(world.machine(), *engine_, {}));
  std::vector<std::byte> content(2 * kPageSize);
  std::ranges::copy(bytes_of(kDevicesKey), content.begin());
  file_ = world.make_file(content);
}

void CellPlayer::play(const Cell& cell) {
  if (engine_ == nullptr) return;
  cell_ = cell;
  prepare();
  verify_state();
  if (testing::Test::HasFailure()) return world_.gate().open();
  make_copies();
  if (cell_.pinned_late()) pin_late();
  write();
  try_to_evict_pinned();
  transfer_while_pinned();
  let_go();
  end_write_out();
  expect_well();
  EXPECT_EQ(copied() - copied_before_, cell_.copies());
  evict_and_compare();
  EXPECT_EQ(copied() - copied_before_, cell_.copies()) << "nobody has written since";
  drop_all();
}

// --- the copy, and what happens while there is one ---

void CellPlayer::make_copies() {
  const page::Page* const page = parent_page();
  switch (cell_.copy) {
    case CopyIs::clone:
      child_ = take(engine_->clone(parent_));
      break;
    case CopyIs::clone_of_clone:
      middle_ = take(engine_->clone(parent_));
      child_ = take(engine_->clone(middle_));
      break;
    case CopyIs::snapshot:
      still_ = take(engine_->snapshot(parent_));
      break;
  }
  EXPECT_EQ(copied() - copied_before_, cell_.rule.pinned ? 1u : 0u);
  if (!cell_.rule.pinned) return;
  EXPECT_EQ(parent_page(), page) << "a pinned page stays with its region";
  EXPECT_EQ(page->count(), 3u) << "and is nobody else's";
}

void CellPlayer::pin_late() {
  auto pin = engine_->pin(in_child(), kPageSize, Access::read);
  ASSERT_TRUE(pin) << pin.error().message();
  pins_.push_back(std::move(*pin));
  pin_parent(Access::write);
  ASSERT_NE(parent_page(), nullptr);
  EXPECT_EQ(parent_page()->pins(), 1u);
  EXPECT_EQ(parent_page()->count(), 3u) << "it was made the parent's own first";
  EXPECT_EQ(copied() - copied_before_, cell_.copies());
}

// In an order that differs from cell to cell.
void CellPlayer::write() {
  const auto parent = [&] {
    const PageBytes bytes = bytes_of(kParentsKey);
    EXPECT_TRUE(world_.store(in_parent(), std::span(bytes).first(kHalf)));
    std::copy_n(bytes.begin(), kHalf, parents_.begin());
  };
  const auto child = [&] {
    if (cell_.copy == CopyIs::snapshot) {
      EXPECT_TRUE(world_.refuses_store(in_child()));
      const auto pin = engine_->pin(in_child(), kPageSize, Access::write);
      ASSERT_FALSE(pin) << "for writing";
      EXPECT_EQ(pin.error().code, Errc::permission);
      return;
    }
    const PageBytes bytes = bytes_of(kChildsKey);
    EXPECT_TRUE(world_.store(page_at(child_, kCellPage), std::span(bytes).first(kHalf)));
    std::copy_n(bytes.begin(), kHalf, childs_.begin());
  };
  const bool child_first = cell_.unpin == Unpin::none || cell_.unpin == Unpin::in_signal_handler;
  if (cell_.child_writes() && child_first) child();
  if (cell_.parent_writes()) parent();
  if (cell_.child_writes() && !child_first) child();
}

// What a device writes lands where the parent looks; what it reads is what its owner has.
void CellPlayer::transfer_while_pinned() {
  if (cell_.unpin == Unpin::none) return;
  const bool by_completion = cell_.unpin == Unpin::in_completion;
  if (cell_.device_writes()) {
    if (!by_completion) land_in_parent();
    if (cell_.pinned_late()) device_reads(in_child(), childs_, nullptr);
    return;
  }
  device_reads(in_parent(), parents_, by_completion ? &pins_ : nullptr);
}

void CellPlayer::land_in_parent() {
  const Buffer half(in_parent() + kHalf, kHalf);
  Transfer transfer;
  submit(AioRequest::read(file_, {&half, 1}, kFromFile + kHalf), transfer);
  world_.wait_until([&] { return transfer.done.load(); });
  EXPECT_TRUE(transfer.whole);
  std::copy_n(bytes_of(kDevicesKey).begin() + kHalf, kHalf, parents_.begin() + kHalf);
}

void CellPlayer::device_reads(const std::byte* page, const PageBytes& expected,
                              std::vector<Pin>* unpins) {
  const Buffer whole(const_cast<std::byte*>(page), kPageSize);
  Transfer transfer;
  transfer.unpins = unpins;
  submit(AioRequest::write(file_, {&whole, 1}, kToFile), transfer);
  world_.wait_until([&] { return transfer.done.load(); });
  EXPECT_TRUE(transfer.whole);
  PageBytes seen;
  world_.read_file(file_, kToFile, seen);
  EXPECT_TRUE(seen == expected) << "what the device read";
}

void CellPlayer::submit(const AioRequest& request, Transfer& transfer) {
  AioRequest whole = request;
  whole.context = &transfer;
  whole.on_complete = [](const AioCompletion& completion, void* context) noexcept {
    auto& self = *static_cast<Transfer*>(context);
    self.whole = completion.is_whole();
    if (self.unpins != nullptr) {
      for (Pin& pin : *self.unpins) pin.reset();
    }
    self.done = true;
  };
  const auto accepted = aio_->submit({&whole, 1});
  if (accepted) return;
  ADD_FAILURE() << accepted.error().message();
  transfer.done = true;
}

// Everything else may leave.
void CellPlayer::try_to_evict_pinned() {
  if (cell_.unpin == Unpin::none || writer_ != nullptr) return;
  const page::Page* const page = parent_page();
  ASSERT_NE(page, nullptr);
  {
    const sync::EngineScope scope;
    EXPECT_EQ(space().evictor().unmap_window_of(record(), kCellPage).what, space::Unmapped::pinned);
  }
  (void)engine_->reclaim(engine_->stats().frames_total);
  EXPECT_EQ(parent_page(), page);
  EXPECT_EQ(page->pins(), 1u);
  EXPECT_EQ(engine_->stats().pages_resident, cell_.pinned_late() ? 2u : 1u);
}

void CellPlayer::let_go() {
  switch (cell_.unpin) {
    case Unpin::none:
      break;
    case Unpin::in_task:
      for (Pin& pin : pins_) pin.reset();
      break;
    case Unpin::in_signal_handler:
      world_.in_signal_handler([&] {
        for (Pin& pin : pins_) pin.reset();
      });
      break;
    case Unpin::in_completion:
      if (!cell_.device_writes()) break;  // done with the transfer
      world_.feed(stream_, std::span<const std::byte>(bytes_of(kDevicesKey)).last(kHalf));
      world_.wait_until([&] { return from_stream_.done.load(); });
      EXPECT_TRUE(from_stream_.whole);
      std::copy_n(bytes_of(kDevicesKey).begin() + kHalf, kHalf, parents_.begin() + kHalf);
      break;
  }
  EXPECT_TRUE(aio_->wait_idle());
  EXPECT_EQ(engine_->stats().pins, 0u);
  for (const Pin& pin : pins_) EXPECT_FALSE(pin);
  pins_.clear();
}

void CellPlayer::end_write_out() {
  if (writer_ == nullptr) return;
  EXPECT_TRUE(world_.gate().is_somebody_waiting()) << "all the while";
  world_.gate().open();
  writer_->join();
  writer_.reset();
}

// --- afterwards ---

void CellPlayer::evict_and_compare() {
  evict_all();
  expect_slots();
  compare_all();
  expect_well();
  evict_all();
  expect_slots();
  compare_all();
}

void CellPlayer::evict_all() {
  (void)engine_->reclaim(4 * engine_->stats().frames_total);
  const Stats stats = engine_->stats();
  EXPECT_EQ(stats.pages_resident + stats.pages_cached, 0u);
}

void CellPlayer::expect_slots() {
  const std::uint64_t slots = engine_->stats().slots_used;
  EXPECT_GE(slots, cell_.slots());
  EXPECT_LE(slots, cell_.slots() + cell_.slots_more());
}

void CellPlayer::expect_bytes(const char* whose, const std::byte* page, const PageBytes& bytes) {
  PageBytes seen;
  EXPECT_TRUE(world_.load(page, seen)) << whose;
  const auto at = std::ranges::mismatch(seen, bytes).in1 - seen.begin();
  EXPECT_EQ(at, std::ptrdiff_t{kPageSize}) << whose << " differs from that byte on";
}

void CellPlayer::compare_all() {
  expect_bytes("parent", in_parent(), parents_);
  expect_bytes(still_ ? "snapshot" : "child", in_child(), childs_);
  if (middle_) expect_bytes("the clone between them", page_at(middle_, kCellPage), before_);
  if (elder_) expect_bytes("earlier snapshot", elder_.data() + kCellPage * kPageSize, before_);
  if (!still_) return;
  PageBytes seen;
  EXPECT_TRUE(still_.read(kCellPage * kPageSize, std::span(seen)));
  EXPECT_TRUE(seen == before_) << "read() of the snapshot";
}

// Whoever is left has his bytes. In an order that differs from cell to cell.
void CellPlayer::drop_all() {
  const bool parent_first = cell_.writes == Writes::neither || cell_.writes == Writes::both;
  if (parent_first) parent_ = {};
  middle_ = {};
  elder_ = {};
  expect_well();
  if (parent_first) {
    expect_bytes("the child alone", in_child(), childs_);
  } else {
    child_ = {};
    still_ = {};
    expect_well();
    expect_bytes("the parent alone", in_parent(), parents_);
  }
  parent_ = {};
  child_ = {};
  still_ = {};
  expect_well();
  const Stats stats = engine_->stats();
  EXPECT_EQ(stats.slots_used, 0u);
  EXPECT_EQ(stats.pages_resident + stats.pages_cached, 0u);
}

// count = holders, for every page and slot.
void CellPlayer::expect_well() {
  world_.settle();
  EXPECT_TRUE(engine_->check_all());
}

std::uint64_t CellPlayer::copied() const { return engine_->stats().cow_copied; }

space::AddressSpace& CellPlayer::space() const {
  return static_cast<PagingEngine&>(*engine_).space();
}

space::RegionRecord& CellPlayer::record() const {
  return static_cast<RegionHandle*>(parent_.control())->record();
}

page::Page* CellPlayer::parent_page() const {
  return space().resident_page(record().address_of(kCellPage));
}

std::byte* CellPlayer::in_parent() const { return page_at(parent_, kCellPage); }

const std::byte* CellPlayer::in_child() const {
  return (still_ ? still_.data() : child_.data()) + kCellPage * kPageSize;
}

}  // namespace holdfast::engine::test
