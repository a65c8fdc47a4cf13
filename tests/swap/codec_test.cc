// The codec alone: exact round trips, and images that were damaged.
#include "swap/codec.h"

#include "swap_machine.h"

namespace holdfast::tests {
namespace {

using swap::Codec;
using swap::Encoding;

class CodecTest : public testing::Test {
 protected:
  void SetUp() override {
    auto made = Codec::create(machine, true);
    ASSERT_TRUE(made) << made.error().message();
    codec = std::move(*made);
  }
  // The image's length; 0: the page does not compress. Compares what comes back.
  std::uint32_t round_trip(Encoding encoding, const PageBytes& page) {
    const Codec::Lease lease(*codec);
    const std::uint32_t length = codec->compress(lease, encoding, page.bytes, image);
    if (length == 0) return 0;
    auto back = std::make_unique<PageBytes>();
    std::memset(back->bytes, 0xee, kPageSize);
    EXPECT_TRUE(codec->decompress(encoding, image, length, back->bytes));
    EXPECT_TRUE(*back == page);
    return length;
  }
  SwapMachine machine;
  std::unique_ptr<Codec> codec;
  std::byte image[kPageSize];
  std::mt19937_64 chance{5};
};

TEST_F(CodecTest, pages_with_a_repeated_tail_of_any_length_come_back) {
  for (std::size_t head = 0; head <= kPageSize; head += 8) {
    PageBytes page;
    const std::uint64_t word = head % 3 == 0 ? 0 : 0x1122334455667788U;
    for (std::size_t i = 0; i < kPageSize; i += 8) {
      const std::uint64_t w = i < head ? chance() : word;
      std::memcpy(page.bytes + i, &w, 8);
    }
    for (const Encoding encoding : {Encoding::lz4, Encoding::zstd}) {
      const std::uint32_t length = round_trip(encoding, page);
      if (head <= 3072) {
        EXPECT_GT(length, 0u) << head;
        EXPECT_LE(length, head + 160) << head;
      }
    }
  }
}

TEST_F(CodecTest, a_page_by_chance_does_not_compress) {
  const PageBytes page = make_page(chance, 1024);
  EXPECT_EQ(round_trip(Encoding::lz4, page), 0u);
  EXPECT_EQ(round_trip(Encoding::zstd, page), 0u);
}

TEST_F(CodecTest, a_damaged_image_never_writes_outside_its_page) {
  struct Guarded {
    std::byte before[64];
    PageBytes page;
    std::byte after[64];
  };
  auto room = std::make_unique<Guarded>();
  std::memset(room->before, 0x77, sizeof room->before);
  std::memset(room->after, 0x77, sizeof room->after);
  for (const Encoding encoding : {Encoding::lz4, Encoding::zstd}) {
    for (int n = 0; n < 3000; ++n) {
      const PageBytes page = make_page(chance, 300);
      std::uint32_t length = 0;
      {
        const Codec::Lease lease(*codec);
        length = codec->compress(lease, encoding, page.bytes, image);
      }
      ASSERT_GT(length, 0u);
      image[chance() % std::min(length, 40U)] = static_cast<std::byte>(chance());
      if (n % 4 == 0) length = static_cast<std::uint32_t>(chance() % length) + 1;
      (void)codec->decompress(encoding, image, length, room->page.bytes);
    }
  }
  for (const std::byte b : room->before) ASSERT_EQ(b, std::byte{0x77});
  for (const std::byte b : room->after) ASSERT_EQ(b, std::byte{0x77});
}

TEST_F(CodecTest, raw_images_of_another_length_are_refused) {
  PageBytes page = make_page(chance, 100);
  EXPECT_FALSE(codec->decompress(Encoding::raw, page.bytes, 4095, page.bytes));
  EXPECT_FALSE(codec->decompress(Encoding::lz4, page.bytes, 1, page.bytes));
}

}  // namespace
}  // namespace holdfast::tests
