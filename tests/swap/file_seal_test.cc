// A swap file that is encrypted: what it shows, and what becomes of whoever changes it.
#include <algorithm>

#include "swap_machine.h"

namespace holdfast::tests {
namespace {

class FileSeal : public SwapTest {
 protected:
  FileSeal() : SwapTest(23) {}
};

TEST_F(FileSeal, what_is_in_the_file_does_not_show_the_pages) {
  const std::vector<PageBytes> pages(100, make_page(chance, 0));
  const std::vector<std::byte> telltale(32, std::byte{0x5a});  // most of each page
  for (const bool encrypted : {false, true}) {
    swap::TierOptions file = file_tier(0, swap::Compression::none);
    file.encrypted = encrypted;
    make({file});
    const auto items = store(pages);
    const auto& bytes = machine.script.bytes;
    ASSERT_GT(bytes.size(), 400u * 1024);
    const bool shown = !std::ranges::search(bytes, telltale).empty();
    EXPECT_EQ(shown, !encrypted);
    EXPECT_EQ(refused(items, pages), 0u);
    put_all(items);
  }
}

TEST_F(FileSeal, a_changed_byte_is_an_error_and_never_data) {
  for (const std::size_t random : {100, 1024}) {
    make({sealed(file_tier())});
    const auto pages = some_pages(8, random);
    const auto items = store(pages);
    std::size_t count = 0;
    for (std::size_t at = 0; at < machine.script.bytes.size(); at += 37) {
      machine.script.bytes[at] ^= std::byte{0x10};
      count += refused(items, pages);
      machine.script.bytes[at] ^= std::byte{0x10};
    }
    EXPECT_GT(count, 0u);
    EXPECT_EQ(swap->stats().hash_mismatches, 0u);  // it never came as far as that
    EXPECT_EQ(tier(0).read_errors, count);
    EXPECT_EQ(refused(items, pages), 0u);
    put_all(items);
  }
}

TEST_F(FileSeal, another_page_in_the_place_of_one_is_an_error) {
  make({sealed(file_tier(0, swap::Compression::none))});
  const auto pages = some_pages(64, 1024);
  const auto items = store(pages);
  auto& bytes = machine.script.bytes;
  ASSERT_GE(bytes.size(), 4u * 32 * 1024);
  const auto cluster = [&](std::size_t i) {
    return bytes.begin() + static_cast<long>(i * 32 * 1024);
  };
  std::swap_ranges(cluster(0), cluster(1), cluster(2));
  EXPECT_GT(refused(items, pages), 10u);
  EXPECT_EQ(swap->stats().hash_mismatches, 0u);
  std::swap_ranges(cluster(0), cluster(1), cluster(2));
  EXPECT_EQ(refused(items, pages), 0u);
  put_all(items);
}

TEST_F(FileSeal, an_older_page_of_the_same_slot_is_an_error) {
  make({sealed(file_tier(64 * 1024, swap::Compression::none))});
  const auto pages = some_pages(5, 1024);
  const auto items = store(pages);
  const std::vector<std::byte> older = machine.script.bytes;
  put_all(items);
  std::size_t stale = 0;
  for (int turn = 0; turn < 20 && stale == 0; ++turn) {  // until a place and its slot come together
    const auto others = some_pages(5, 1024);
    const auto again = store(others);
    const std::vector<std::byte> newer = machine.script.bytes;
    std::ranges::copy(older, machine.script.bytes.begin());
    EXPECT_GT(refused(again, others), 0u);
    stale = swap->stats().hash_mismatches;
    machine.script.bytes = newer;
    EXPECT_EQ(refused(again, others), 0u);
    put_all(again);
  }
  EXPECT_GT(stale, 0u);
}

TEST_F(FileSeal, what_cannot_be_written_goes_to_the_next_tier_as_it_was) {
  make({sealed(file_tier()), ram_tier()});
  const auto pages = some_pages(30);
  machine.script.fail_write_in = 0;
  machine.script.for_ever = true;
  const auto items = store(pages);
  EXPECT_EQ(refused(items, pages), 0u);
  EXPECT_EQ(tier(0).pages, 0u);
  EXPECT_EQ(tier(1).pages, pages.size());
  put_all(items);
}

TEST_F(FileSeal, a_cluster_that_was_tampered_with_is_not_compacted_and_costs_only_its_own_pages) {
  make({sealed(file_tier())});
  const auto pages = some_pages(400);
  auto items = store(pages);
  for (std::size_t i = 0; i < items.size(); ++i) {
    if (i % 4 != 0) swap->put(std::exchange(items[i].slot, SlotIndex::none()));
  }
  // The first image of the first cluster: behind the directory.
  auto& bytes = machine.script.bytes;
  for (std::size_t at = 2048; at < 4096; at += 64) bytes[at + 16] ^= std::byte{1};
  maintain_all();
  const std::size_t lost = refused(items, pages);
  EXPECT_GT(lost, 0u);
  EXPECT_LT(lost, 10u);
  EXPECT_TRUE(swap->check());
  put_all(items);
}

}  // namespace
}  // namespace holdfast::tests
