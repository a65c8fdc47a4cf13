// An image that is not as it was written is refused, with the offset, or reads correctly.
#include "image_fixture.h"

namespace holdfast::image::test {
namespace {

// Every kind of run and encoding there is, in a few kilobytes.
std::vector<Page> small_memory() {
  std::mt19937_64 chance(42);
  std::vector<Page> pages(24, filled_page(0));
  for (int i = 2; i < 22; ++i) pages[i] = chance_page(chance, 1);
  pages[7] = filled_page(0x1234567812345678);
  return pages;
}

class ImageDamage : public testing::Test {
 protected:
  ImageDamage() : memory({20, 4}) {
    memory.pages = small_memory();
    bytes = saved(memory, {.threads = 1});
  }
  Memory memory;
  std::vector<std::byte> bytes;
};

TEST_F(ImageDamage, EveryTruncationIsRefused) {
  for (std::size_t length = 0; length < bytes.size(); ++length) {
    const std::vector<std::byte> torn(bytes.begin(), bytes.begin() + static_cast<long>(length));
    const auto image = opened(torn);
    ASSERT_FALSE(image) << length << " of " << bytes.size() << " bytes were taken for an image";
    const Errc code = image.error().code;
    EXPECT_TRUE(code == Errc::corrupted || (length < 8 && code == Errc::invalid_argument));
    EXPECT_LE(image.error().value, length) << "the offset lies in the file";
  }
}

TEST_F(ImageDamage, WhatFollowsAnImageIsRefused) {
  auto longer = bytes;
  longer.push_back(std::byte{0});
  EXPECT_EQ(opened(longer).error().code, Errc::corrupted);
  longer = bytes;
  longer.insert(longer.end(), bytes.begin(), bytes.end());
  EXPECT_EQ(opened(longer).error().code, Errc::corrupted) << "two images in one file";
}

TEST_F(ImageDamage, EveryFlippedByteIsFoundAndNeverReadAsData) {
  for (const unsigned flip : {0x01U, 0x80U, 0xffU}) {
    for (std::size_t at = 0; at < bytes.size(); ++at) {
      SCOPED_TRACE("byte " + std::to_string(at) + " xor " + std::to_string(flip));
      auto damaged = bytes;
      damaged[at] ^= static_cast<std::byte>(flip);
      const auto image = opened(damaged);
      if (!image) {
        EXPECT_LT(image.error().value, bytes.size());
        continue;
      }
      const auto result = verified(**image);
      ASSERT_FALSE(result) << "verify() missed it";
      EXPECT_EQ(result.error().code, Errc::corrupted);
      EXPECT_LE(result.error().value, at) << "the group begins before the byte";
      (void)expect_equal_or_refused(**image, memory.pages);
    }
    if (HasFatalFailure()) return;
  }
}

TEST_F(ImageDamage, ForeignFilesAreToldFromDamagedOnes) {
  const std::string texts[] = {"", "x", "#!/bin/sh\necho no image\n", std::string(10'000, '\0'),
                               std::string("\x7f"
                                           "ELF") +
                                   std::string(500, 'e')};
  for (const std::string& text : texts) {
    std::vector<std::byte> foreign(text.size());
    if (!text.empty()) std::memcpy(foreign.data(), text.data(), text.size());
    const auto image = opened(foreign);
    ASSERT_FALSE(image);
    EXPECT_EQ(image.error().code, Errc::invalid_argument) << image.error().message();
  }
}

TEST_F(ImageDamage, ATransferAsTextIsNoticedAtOnce) {
  std::vector<std::byte> text;
  for (const std::byte byte : bytes) {
    if (byte != std::byte{'\r'}) text.push_back(byte);
  }
  EXPECT_EQ(opened(text).error().code, Errc::invalid_argument);
}

TEST_F(ImageDamage, ANewerVersionIsNamed) {
  Header header;
  std::memcpy(&header, bytes.data(), sizeof header);
  header.version = kVersion + 1;
  header.checksum = checksum_of(header);
  std::memcpy(bytes.data(), &header, sizeof header);
  const auto image = opened(bytes);
  ASSERT_FALSE(image);
  EXPECT_EQ(image.error().code, Errc::unsupported);
  EXPECT_EQ(image.error().value, kVersion + 1);
}

// Puts the checksums of footer, index and header right, so that what they guard is looked at.
void mend(std::vector<std::byte>& bytes) {
  if (bytes.size() < sizeof(Header) + sizeof(Footer) + sizeof(IndexHead)) return;
  Header header;
  std::memcpy(&header, bytes.data(), sizeof header);
  header.magic = kHeaderMagic;
  header.checksum = checksum_of(header);
  std::memcpy(bytes.data(), &header, sizeof header);
  std::byte* const end = bytes.data() + bytes.size() - sizeof(Footer);
  Footer footer;
  std::memcpy(&footer, end, sizeof footer);
  footer.magic = kFooterMagic;
  footer.id = header.id;
  footer.file_bytes = bytes.size();
  const std::uint64_t index_end = bytes.size() - sizeof footer;
  if (footer.index_offset <= index_end && index_end - footer.index_offset >= sizeof(IndexHead)) {
    footer.index_bytes = index_end - footer.index_offset;
    std::memcpy(bytes.data() + footer.index_offset, &header.checksum, sizeof header.checksum);
    footer.index_checksum =
        base::hash_bytes(bytes.data() + footer.index_offset, footer.index_bytes);
  }
  footer.checksum = checksum_of(footer);
  std::memcpy(end, &footer, sizeof footer);
}

void hurt(std::vector<std::byte>& bytes, std::mt19937_64& chance) {
  for (std::uint64_t n = 1 + chance() % 4; n > 0; --n) {
    const std::size_t at = chance() % bytes.size();
    switch (chance() % 5) {
      case 0:
        bytes[at] = static_cast<std::byte>(chance());
        break;
      case 1:  // a number at its extremes
        for (std::size_t i = at & ~std::size_t{7}; i < bytes.size() && i < (at & ~7ULL) + 8; ++i) {
          bytes[i] = chance() % 2 == 0 ? std::byte{0xff} : std::byte{0};
        }
        break;
      case 2:
        bytes.erase(
            bytes.begin() + static_cast<long>(at),
            bytes.begin() + static_cast<long>(at + std::min<std::size_t>(8, bytes.size() - at)));
        break;
      case 3: {  // one piece over another
        const std::size_t from = chance() % bytes.size();
        const std::size_t count =
            std::min<std::size_t>(1 + chance() % 64, bytes.size() - std::max(at, from));
        std::memmove(bytes.data() + at, bytes.data() + from, count);
        break;
      }
      default:
        bytes[at] ^= static_cast<std::byte>(1U << chance() % 8);
        break;
    }
    if (bytes.empty()) bytes.push_back(std::byte{1});
  }
}

// With the checksums put right the image may be accepted: then it says something else,
// consistently. What is asked for is that nothing is read out of bounds (the sanitizers see that)
// and that no page is taken for another: each still has to match its hash.
TEST_F(ImageDamage, NonsenseWithRightChecksumsIsRefusedOrConsistent) {
  const std::uint64_t seed = tests::test_seed();
  HF_SEED_TRACE(seed);
  std::mt19937_64 chance(seed);
  std::uint64_t accepted = 0;
  const std::uint64_t rounds = tests::seed_count(20'000);
  for (std::uint64_t round = 0; round < rounds; ++round) {
    auto nonsense = bytes;
    hurt(nonsense, chance);
    if (chance() % 8 != 0) mend(nonsense);
    const auto image = opened(nonsense);
    if (!image || (*image)->is_incremental()) continue;
    ++accepted;
    for (std::uint64_t i = 0; i < std::min<std::uint64_t>((*image)->header().pages, 64); ++i) {
      (void)page_of(**image, i);
    }
    (void)verified(**image);
  }
  RecordProperty("accepted", static_cast<int>(accepted));
  if (rounds > 1000) {
    EXPECT_GT(accepted, rounds / 100) << "the loop looks behind the checksums";
  }
}

}  // namespace
}  // namespace holdfast::image::test
