#include "lru/lru.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <deque>
#include <memory>
#include <random>
#include <thread>
#include <vector>

#include "page/pool_fixture.h"
#include "support/seed.h"

namespace holdfast::lru {
namespace {

using page::Holder;
using page::LruList;
using page::Page;
using page::PageState;

class LruTest : public tests::PoolTest {
 protected:
  void make_lru(std::uint32_t frames) {
    make(frames);
    lru = std::make_unique<Lru>(*pool);
  }
  // A page that only the VM holds.
  FrameIndex add_one() {
    page::Reservation reservation = pool->reserve(1, page::Priority::reclaim);
    Page& page = reservation.take(Holder::vm);
    lru->add(page);
    return pool->index_of(page);
  }
  void forget(std::vector<FrameIndex> frames) {
    lru->remove(frames);
    for (const FrameIndex frame : frames) pool->put(pool->page(frame), Holder::vm);
  }
  std::vector<FrameIndex> oldest(std::size_t most) {
    std::vector<FrameIndex> found(most);
    found.resize(lru->oldest_inactive(found));
    for (const FrameIndex frame : found) pool->put(pool->page(frame), Holder::caller);
    return found;
  }
  void TearDown() override {
    if (lru != nullptr) {
      EXPECT_TRUE(lru->check());
    }
    PoolTest::TearDown();
  }
  std::unique_ptr<Lru> lru;
};

TEST_F(LruTest, an_added_page_waits_until_somebody_needs_the_lists) {
  make_lru(64);
  const FrameIndex a = add_one();
  EXPECT_EQ(lru->counts(), (LruCounts{.pending = 1}));
  EXPECT_EQ(pool->page(a).lru_list(), LruList::pending);
  EXPECT_EQ(lru->oldest_active(), a);
  EXPECT_EQ(lru->counts(), (LruCounts{.active = 1}));
  forget({a});
}

TEST_F(LruTest, empty_lists_have_no_oldest) {
  make_lru(64);
  EXPECT_TRUE(lru->oldest_active().is_none());
  EXPECT_TRUE(oldest(4).empty());
}

TEST_F(LruTest, first_in_is_first_scanned) {
  make_lru(64);
  std::vector<FrameIndex> frames;
  for (int i = 0; i < 10; ++i) frames.push_back(add_one());
  for (const FrameIndex frame : frames) {
    EXPECT_EQ(lru->oldest_active(), frame);
    forget({frame});
  }
}

TEST_F(LruTest, a_rotated_page_is_the_youngest) {
  make_lru(64);
  const FrameIndex a = add_one();
  const FrameIndex b = add_one();
  ASSERT_EQ(lru->oldest_active(), a);
  const FrameIndex c = add_one();
  lru->rotate_active(a);
  EXPECT_EQ(lru->oldest_active(), b);
  forget({b});
  EXPECT_EQ(lru->oldest_active(), c);
  forget({c});
  EXPECT_EQ(lru->oldest_active(), a);
  forget({a});
}

TEST_F(LruTest, rotating_what_is_not_active_changes_nothing) {
  make_lru(64);
  const FrameIndex a = add_one();
  lru->rotate_active(a);
  EXPECT_EQ(lru->counts().pending, 1u);
  lru->deactivate(std::span(&a, 1));
  lru->rotate_active(a);
  EXPECT_EQ(lru->counts(), (LruCounts{.inactive = 1}));
  forget({a});
}

TEST_F(LruTest, deactivated_pages_are_seen_in_the_order_of_their_unmapping) {
  make_lru(64);
  std::vector<FrameIndex> frames;
  for (int i = 0; i < 6; ++i) frames.push_back(add_one());
  lru->deactivate(std::span(frames).subspan(3));
  lru->deactivate(std::span(frames).first(3));
  std::rotate(frames.begin(), frames.begin() + 3, frames.end());
  EXPECT_EQ(oldest(64), frames);
  EXPECT_EQ(oldest(2), (std::vector(frames.begin(), frames.begin() + 2)));
  EXPECT_EQ(lru->counts(), (LruCounts{.inactive = 6}));
  forget(frames);
}

TEST_F(LruTest, the_scan_takes_a_reference_of_its_own) {
  make_lru(64);
  const FrameIndex a = add_one();
  lru->deactivate(std::span(&a, 1));
  FrameIndex found;
  ASSERT_EQ(lru->oldest_inactive(std::span(&found, 1)), 1u);
  EXPECT_EQ(pool->page(a).count(), 2u);
  forget({a});
  EXPECT_EQ(pool->page(a).state(), PageState::held) << "the scan's reference keeps it";
  pool->put(pool->page(a), Holder::caller);
  EXPECT_EQ(pool->page(a).state(), PageState::free);
}

TEST_F(LruTest, a_rescued_page_is_the_youngest_active_one) {
  make_lru(64);
  const FrameIndex a = add_one();
  lru->deactivate(std::span(&a, 1));
  const FrameIndex b = add_one();
  lru->activate(a);
  EXPECT_EQ(lru->oldest_active(), b);
  EXPECT_EQ(lru->counts(), (LruCounts{.active = 2}));
  lru->activate(a);  // it is active: nothing
  EXPECT_EQ(lru->counts(), (LruCounts{.active = 2}));
  forget({a, b});
}

TEST_F(LruTest, orphans_come_first_in_the_order_in_which_they_were_given) {
  make_lru(64);
  std::vector<FrameIndex> frames;
  for (int i = 0; i < 5; ++i) frames.push_back(add_one());
  lru->deactivate(std::span(frames).first(2));  // inactive: 0 1
  (void)lru->oldest_active();                   // active: 2 3 4
  const FrameIndex late = add_one();            // pending
  const std::vector<FrameIndex> orphans = {frames[3], late, frames[1]};
  lru->deactivate_first(orphans);
  EXPECT_EQ(oldest(64), (std::vector{frames[3], late, frames[1], frames[0]}));
  frames.push_back(late);
  forget(frames);
}

TEST_F(LruTest, deactivating_a_page_on_no_list_is_skipped) {
  make_lru(64);
  const FrameIndex a = add_one();
  forget({a});
  lru->deactivate(std::span(&a, 1));
  lru->deactivate_first(std::span(&a, 1));
  lru->activate(a);
  EXPECT_EQ(lru->counts(), LruCounts{});
}

TEST_F(LruTest, removing_a_page_on_no_list_aborts) {
  make_lru(64);
  const FrameIndex a = add_one();
  forget({a});
  EXPECT_DEATH(lru->remove(std::span(&a, 1)), "was_linked");
}

TEST_F(LruTest, a_page_on_a_list_is_never_free) {
  make_lru(64);
  const FrameIndex a = add_one();
  EXPECT_DEATH(pool->put(pool->page(a), Holder::vm), "lru_list");
  forget({a});
}

TEST_F(LruTest, an_owner_frees_a_listed_page_without_looking_at_any_list) {
  make_lru(64);
  page::Reservation reservation = pool->reserve(1, page::Priority::normal);
  Page& page = reservation.take(Holder::caller);
  pool->get(page, Holder::vm);
  lru->add(page);
  pool->put(page, Holder::caller);  // the owner is gone
  EXPECT_EQ(page.count(), 1u) << "the VM frees its share later";
  forget({pool->index_of(page)});
  EXPECT_EQ(page.state(), PageState::free);
}

// The lists as plain deques, driven by the same random events.
struct Model {
  std::deque<FrameIndex> active, inactive;
  static bool drop(std::deque<FrameIndex>& list, FrameIndex frame) {
    const auto found = std::find(list.begin(), list.end(), frame);
    if (found == list.end()) return false;
    list.erase(found);
    return true;
  }
};

TEST_F(LruTest, random_events_agree_with_plain_lists) {
  const std::uint64_t seed = tests::test_seed();
  HF_SEED_TRACE(seed);
  std::mt19937_64 random(seed);
  make_lru(256);
  Model model;
  std::vector<FrameIndex> all;
  const auto any = [&] { return all[random() % all.size()]; };
  for (int step = 0; step < 20000; ++step) {
    const auto event = random() % 8;
    if (event <= 1 && pool->free_count() > 0) {
      all.push_back(add_one());
      model.active.push_back(all.back());
    }
    if (all.empty()) continue;
    const FrameIndex frame = any();
    if (event == 2) {
      lru->deactivate(std::span(&frame, 1));
      if (Model::drop(model.active, frame)) model.inactive.push_back(frame);
    } else if (event == 3) {
      lru->activate(frame);
      if (Model::drop(model.inactive, frame)) model.active.push_back(frame);
    } else if (event == 4) {
      lru->deactivate_first(std::span(&frame, 1));
      Model::drop(model.active, frame);
      Model::drop(model.inactive, frame);
      model.inactive.push_front(frame);
    } else if (event == 5 && random() % 2 == 0) {
      forget({frame});
      Model::drop(model.active, frame);
      Model::drop(model.inactive, frame);
      std::erase(all, frame);
    } else if (event == 6 && !model.active.empty()) {
      ASSERT_EQ(lru->oldest_active(), model.active.front());
      lru->rotate_active(model.active.front());
      model.active.push_back(model.active.front());
      model.active.pop_front();
    } else if (event == 7) {
      const auto found = oldest(16);
      ASSERT_TRUE(std::equal(found.begin(), found.end(), model.inactive.begin()));
      ASSERT_EQ(found.size(), std::min<std::size_t>(16, model.inactive.size()));
    }
    const LruCounts counts = lru->counts();
    ASSERT_EQ(counts.active + counts.pending, model.active.size()) << step;
    ASSERT_EQ(counts.inactive, model.inactive.size()) << step;
  }
  EXPECT_TRUE(lru->check());
  forget(all);
}

TEST_F(LruTest, threads_add_while_a_scan_deactivates_and_frees) {
  make_lru(4096);
  constexpr int kAdds = 50000;
  std::atomic<int> adders{2};
  const auto add_many = [&] {
    for (int i = 0; i < kAdds;) {
      page::Reservation reservation = pool->reserve(4, page::Priority::reclaim);
      while (reservation.size() > 0 && i++ < kAdds) lru->add(reservation.take(Holder::vm));
    }
    --adders;
  };
  std::thread one(add_many);
  std::thread two(add_many);
  std::uint64_t freed = 0;
  while (adders > 0 || lru->counts() != LruCounts{}) {
    for (FrameIndex f = lru->oldest_active(); !f.is_none(); f = lru->oldest_active()) {
      lru->deactivate(std::span(&f, 1));
    }
    std::vector<FrameIndex> found(64);
    found.resize(lru->oldest_inactive(found));
    lru->remove(found);
    for (const FrameIndex frame : found) {
      pool->put(pool->page(frame), Holder::vm);
      pool->put(pool->page(frame), Holder::caller);
    }
    freed += found.size();
  }
  one.join();
  two.join();
  EXPECT_EQ(freed, 2u * kAdds);
  EXPECT_EQ(pool->free_count(), 4096u);
}

}  // namespace
}  // namespace holdfast::lru
