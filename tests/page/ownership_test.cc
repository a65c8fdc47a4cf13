// The ownership rule (DESIGN.md section 1), sentence by sentence, as far as the pool keeps it.
#include <gtest/gtest.h>

#include <array>
#include <cstring>
#include <string>

#include "page/pool_fixture.h"

namespace holdfast::page {
namespace {

using enum PageState;

class OwnershipTest : public tests::PoolTest {
 protected:
  // A mapped anonymous page: the VM's reference and its one entry's.
  Page& mapped() {
    Page& page = *take_one(Priority::normal);
    pages.clear();
    page.to(resident);
    page.set_owner({RegionId(0), PageIndex(1)});
    pool->get(page, Holder::vm);
    pool->get(page, Holder::entry);
    pool->put(page, Holder::caller);
    return page;
  }
};

TEST_F(OwnershipTest, a_mapped_page_has_count_two_and_every_holder_adds_one) {
  make(64);
  Page& page = mapped();
  EXPECT_EQ(page.count(), 2u);
  ASSERT_TRUE(pool->try_pin(page));
  EXPECT_EQ(page.count(), 3u);
  EXPECT_EQ(page.pins(), 1u);
  pool->unpin(page);
  page.to(orphan);
  pool->put(page, Holder::entry);
  EXPECT_EQ(page.count(), 1u) << "the VM alone: reclaimable";
  pool->put(page, Holder::vm);
  EXPECT_EQ(page.state(), free);
}

TEST_F(OwnershipTest, holders_may_go_in_any_order_and_the_last_frees) {
  make(64);
  std::array<int, 3> order = {0, 1, 2};
  do {
    Page& page = mapped();
    ASSERT_TRUE(pool->try_pin(page));
    page.to(orphan);
    for (const int who : order) {
      ASSERT_NE(page.state(), free);
      if (who == 0) pool->put(page, Holder::vm);
      if (who == 1) pool->put(page, Holder::entry);
      if (who == 2) pool->unpin(page);
    }
    ASSERT_EQ(page.state(), free);
    ASSERT_EQ(pool->free_count(), 64u);
  } while (std::next_permutation(order.begin(), order.end()));
}

TEST_F(OwnershipTest, put_is_legal_in_interrupt_context_and_inside_the_engine) {
  make(64);
  Page& page = *take_one(Priority::normal);
  Page* const block = *pool->allocate_block(3, Priority::normal);
  pages.clear();
  const sync::EngineScope engine;
  const sync::InterruptScope interrupt;
  pool->get(page, Holder::caller);
  pool->put(page, Holder::caller);
  pool->put(page, Holder::caller);
  pool->free_pages(*block, 3);
  EXPECT_EQ(pool->counts(), (FrameCounts{.total = 64, .free = 56, .deferred = 8}));
}

TEST_F(OwnershipTest, put_is_legal_with_every_lock_held) {
  make(64);
  Page& page = *take_one(Priority::normal);
  pages.clear();
  for (int rank = 1; rank <= static_cast<int>(sync::Rank::device); ++rank) {
    sync::note_acquire(static_cast<sync::Rank>(rank));
  }
  pool->put(page, Holder::caller);
  for (int rank = 1; rank <= static_cast<int>(sync::Rank::device); ++rank) {
    sync::note_release(static_cast<sync::Rank>(rank));
  }
  EXPECT_EQ(page.state(), free);
}

TEST_F(OwnershipTest, a_resident_page_cannot_become_free_at_once) {
  make(64);
  Page& page = mapped();
  pool->put(page, Holder::vm);
  EXPECT_DEATH(pool->put(page, Holder::entry), "page state: resident -> free");
  page.to(orphan);
  pool->put(page, Holder::entry);
}

TEST_F(OwnershipTest, a_cached_page_in_its_window_becomes_warm_or_free_by_the_vms_put) {
  make(64);
  for (const PageState state : {cached, writeback, orphan}) {
    for (const bool memory_stands : {true, false}) {
      Page& page = mapped();
      page.to(cached);
      if (state != cached) page.to(state);
      page.set_pool_window(5);
      pool->put(page, Holder::entry);
      if (memory_stands) {
        ASSERT_TRUE(pool->put_to_warm(page, Holder::vm));
        EXPECT_EQ(page.state(), warm);
        const FrameIndex frame = pool->index_of(page);
        pool->warm_to_free(std::span(&frame, 1));
      } else {
        pool->put(page, Holder::vm);
      }
      EXPECT_EQ(page.state(), free);
      EXPECT_TRUE(pool->check());
    }
  }
}

#if defined(HOLDFAST_DEBUG)

TEST_F(OwnershipTest, a_second_reference_of_the_vm_aborts) {
  make(64);
  Page& page = mapped();
  EXPECT_DEATH(pool->get(page, Holder::vm), "a second reference of vm");
  page.to(orphan);
  pool->put(page, Holder::vm);
  pool->put(page, Holder::entry);
}

TEST_F(OwnershipTest, dropping_a_reference_that_one_does_not_have_aborts_and_names_the_kind) {
  make(64);
  Page& page = mapped();
  EXPECT_DEATH(pool->put(page, Holder::caller), "no reference to drop of caller");
  EXPECT_DEATH(pool->unpin(page), "no reference to drop of pin");
  page.to(orphan);
  pool->put(page, Holder::vm);
  pool->put(page, Holder::entry);
  EXPECT_DEATH(pool->put(page, Holder::entry), "no reference to drop of entry");
}

TEST_F(OwnershipTest, a_leak_names_its_holders_and_their_call_sites) {
  make(64, {}, true);
  Page& page = mapped();
  ASSERT_TRUE(pool->try_pin(page));
  machine.capture = true;
  pool->dump_holders(page);
  machine.capture = false;
  const std::string& text = machine.printed;
  EXPECT_NE(text.find("resident, count 3, pins 1"), std::string::npos) << text;
  EXPECT_NE(text.find("held by vm: 1"), std::string::npos) << text;
  EXPECT_NE(text.find("held by entry: 1"), std::string::npos) << text;
  EXPECT_NE(text.find("held by pin: 1"), std::string::npos) << text;
  EXPECT_EQ(text.find("held by caller"), std::string::npos) << text;
  EXPECT_NE(text.find("taken by pin at 0x"), std::string::npos) << text;
  EXPECT_EQ(text.find("taken by caller"), std::string::npos) << text;
  pool->unpin(page);
  page.to(orphan);
  pool->put(page, Holder::vm);
  pool->put(page, Holder::entry);
}

TEST_F(OwnershipTest, more_holders_than_places_for_call_sites_is_no_harm) {
  make(64, {}, true);
  Page& page = *take_one(Priority::normal);
  for (int i = 0; i < 20; ++i) pool->get(page, Holder::entry);
  for (int i = 0; i < 20; ++i) pool->put(page, Holder::entry);
  EXPECT_EQ(pool->holders().count(pool->index_of(page), Holder::entry), 0u);
  EXPECT_EQ(pool->holders().count(pool->index_of(page), Holder::caller), 1u);
}

#endif

}  // namespace
}  // namespace holdfast::page
