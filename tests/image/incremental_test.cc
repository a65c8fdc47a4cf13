// Images that say only what differs from an earlier one.
#include <map>

#include "image_fixture.h"

namespace holdfast::image::test {
namespace {

// Images in memory, found by their ids.
class Shelf final : public ImageFinder {
 public:
  void add(const std::vector<std::byte>& bytes) {
    MemorySource source(bytes);
    images_.emplace_back(id_of(source), bytes);
  }
  Expected<std::unique_ptr<sys::ByteSource>> find(const Id& id) override {
    for (auto& [known, bytes] : images_) {
      if (known == id) return std::make_unique<MemorySource>(bytes);
    }
    return fail({.code = Errc::not_found, .doing = "find image"});
  }
  Expected<std::unique_ptr<Reader>> open(std::size_t index) {
    return open_chain(sys::real_machine(), std::make_unique<MemorySource>(images_[index].second),
                      *this);
  }
  std::vector<std::byte>& bytes(std::size_t index) { return images_[index].second; }

 private:
  std::vector<std::pair<Id, std::vector<std::byte>>> images_;
};

TEST(ImageIncremental, AChainReadsAsEachMomentWas) {
  const std::uint64_t seed = tests::test_seed();
  HF_SEED_TRACE(seed);
  std::mt19937_64 chance(seed);
  Memory memory({400, 50});
  memory.randomize(chance);
  Shelf shelf;
  shelf.add(saved(memory));
  std::vector<std::vector<Page>> moments = {memory.pages};
  for (int step = 0; step < 6; ++step) {
    for (int i = 0; i < 30; ++i) memory.pages[chance() % 450] = any_page(chance);
    const auto base = shelf.open(moments.size() - 1).value();
    shelf.add(saved(memory, {.base = base.get()}));
    EXPECT_LT(shelf.bytes(moments.size()).size(), shelf.bytes(0).size() / 2);
    moments.push_back(memory.pages);
  }
  for (std::size_t i = 0; i < moments.size(); ++i) {
    const auto image = shelf.open(i);
    ASSERT_TRUE(image) << image.error().message();
    expect_equal(**image, moments[i]);
    EXPECT_TRUE(verified(**image));
  }
}

TEST(ImageIncremental, WhatIsKnownToBeUnchangedIsNotRead) {
  std::mt19937_64 chance(3);
  Memory memory({200});
  for (Page& page : memory.pages) page = chance_page(chance, 8);
  Shelf shelf;
  shelf.add(saved(memory));
  memory.pages[150] = chance_page(chance, 8);
  memory.told = {{0, 150, PageKind::unchanged, 0},
                 {150, 1, PageKind::data, 0},
                 {151, 49, PageKind::unchanged, 151}};
  memory.fail_read_in = 1;
  const auto base = shelf.open(0).value();
  MemorySink sink;
  const auto report = write_image(sys::real_machine(), memory, sink, {.base = base.get()});
  ASSERT_TRUE(report);
  EXPECT_EQ(report->unchanged_pages, 199u);
  EXPECT_EQ(report->data_pages, 1u);
  shelf.add(sink.bytes);
  const auto image = shelf.open(1).value();
  expect_equal(*image, memory.pages);
}

TEST(ImageIncremental, RegionsMayGrowAndShrinkBetweenImages) {
  std::mt19937_64 chance(4);
  Memory before({30, 30});
  for (Page& page : before.pages) page = chance_page(chance, 8);
  Memory after({40, 20});
  for (int i = 0; i < 30; ++i) after.pages[i] = before.pages[i];
  for (int i = 30; i < 40; ++i) after.pages[i] = chance_page(chance, 8);
  for (int i = 0; i < 20; ++i) after.pages[40 + i] = before.pages[30 + i];
  Shelf shelf;
  shelf.add(saved(before));
  const auto base = shelf.open(0).value();
  MemorySink sink;
  const auto report = write_image(sys::real_machine(), after, sink, {.base = base.get()});
  ASSERT_TRUE(report);
  EXPECT_EQ(report->unchanged_pages, 50u);
  shelf.add(sink.bytes);
  const auto image = shelf.open(1).value();
  expect_equal(*image, after.pages);
}

class ImageBase : public testing::Test {
 protected:
  ImageBase() : memory({100}) {
    std::mt19937_64 chance(5);
    for (Page& page : memory.pages) page = chance_page(chance, 8);
    shelf.add(saved(memory));
    memory.pages[3] = chance_page(chance, 8);
    const auto base = shelf.open(0).value();
    shelf.add(saved(memory, {.base = base.get()}));
  }
  Memory memory;
  Shelf shelf;
};

TEST_F(ImageBase, AnotherImageIsRefused) {
  const auto other = saved(memory);
  auto image = opened(shelf.bytes(1)).value();
  const auto result = image->set_base(opened(other).value());
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code, Errc::invalid_argument);
  EXPECT_TRUE(image->set_base(opened(shelf.bytes(0)).value()));
  EXPECT_FALSE(image->set_base(opened(shelf.bytes(0)).value())) << "it has one";
}

TEST_F(ImageBase, AFullImageTakesNone) {
  auto image = opened(shelf.bytes(0)).value();
  EXPECT_EQ(image->set_base(opened(shelf.bytes(0)).value()).error().code, Errc::invalid_argument);
}

TEST_F(ImageBase, ABaseOfTheSameIdAndOtherContentIsRefused) {
  auto base = opened(shelf.bytes(0)).value();
  Header header = base->header();
  // The same memory but for one page, under the same id: what a careless restore of a backup of
  // backups would put there.
  memory.pages[50] = filled_page(1);
  auto forged = saved(memory);
  const auto other = opened(forged).value();
  std::memcpy(forged.data(), &header, sizeof header);
  Footer footer = other->footer();
  footer.id = header.id;
  std::memcpy(forged.data() + footer.index_offset, &header.checksum, sizeof header.checksum);
  footer.index_checksum = base::hash_bytes(forged.data() + footer.index_offset, footer.index_bytes);
  footer.checksum = checksum_of(footer);
  std::memcpy(forged.data() + forged.size() - sizeof footer, &footer, sizeof footer);
  auto reader = opened(forged);
  ASSERT_TRUE(reader) << reader.error().message();
  const auto result = opened(shelf.bytes(1)).value()->set_base(std::move(*reader));
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code, Errc::corrupted);
}

TEST_F(ImageBase, AMissingBaseIsNamed) {
  NameFinder nowhere({}, "");
  const auto image =
      open_chain(sys::real_machine(), std::make_unique<MemorySource>(shelf.bytes(1)), nowhere);
  ASSERT_FALSE(image);
  EXPECT_EQ(image.error().code, Errc::not_found);
  EXPECT_EQ(image.error().value, opened(shelf.bytes(0)).value()->header().id.low);
}

TEST_F(ImageBase, ADamagedBaseIsAnErrorOfThePagesThatItHolds) {
  auto image = shelf.open(1).value();
  auto& base = shelf.bytes(0);
  for (std::size_t i = sizeof(Header); i < base.size() / 2; i += 100) base[i] ^= std::byte{1};
  const std::uint64_t refused = expect_equal_or_refused(*image, memory.pages);
  EXPECT_GT(refused, 10u);
  EXPECT_LT(refused, 90u);
}

}  // namespace
}  // namespace holdfast::image::test
