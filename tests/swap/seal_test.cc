// Sealed images: what was not sealed for a place is refused there, and no nonce comes twice.
#include "swap/seal.h"

#include <gtest/gtest.h>
#include <openssl/crypto.h>

#include <atomic>
#include <cstdlib>
#include <cstring>
#include <random>
#include <thread>
#include <vector>

#include "support/fake_machine.h"

namespace holdfast::tests {
namespace {

using swap::SealedPlace;
using swap::Sealer;

// Every allocation of OpenSSL's, from the first one on.
std::atomic<std::uint64_t> g_allocations{0};
void* count_malloc(std::size_t bytes, const char*, int) {
  ++g_allocations;
  return std::malloc(bytes);
}
void* count_realloc(void* old, std::size_t bytes, const char*, int) {
  ++g_allocations;
  return std::realloc(old, bytes);
}
void count_free(void* old, const char*, int) { std::free(old); }
const bool g_counting = CRYPTO_set_mem_functions(count_malloc, count_realloc, count_free) == 1;

class Seal : public testing::Test {
 protected:
  void SetUp() override {
    auto made = Sealer::create(machine);
    ASSERT_TRUE(made) << made.error().message();
    sealer = std::move(*made);
  }
  std::vector<std::byte> text(std::uint32_t bytes) {
    std::vector<std::byte> made(bytes);
    for (std::byte& b : made) b = static_cast<std::byte>(chance());
    return made;
  }
  std::vector<std::byte> sealed(const SealedPlace& at, const std::vector<std::byte>& from) {
    std::vector<std::byte> made(from.size() + Sealer::kTagBytes);
    sealer->seal(at, from.data(), static_cast<std::uint32_t>(from.size()), made.data());
    return made;
  }
  bool opens(const SealedPlace& at, const std::vector<std::byte>& from,
             const std::vector<std::byte>& expected) {
    std::vector<std::byte> back(expected.size());
    const auto bytes = static_cast<std::uint32_t>(expected.size());
    if (!sealer->open(at, from.data(), bytes, back.data())) return false;
    EXPECT_EQ(back, expected);
    return true;
  }
  FakeMachine machine;
  std::unique_ptr<Sealer> sealer;
  std::mt19937_64 chance{7};
  const SealedPlace place{.object = 3, .offset = 640, .slot = 77, .shape = 1U << 13 | 900};
};

TEST_F(Seal, what_is_sealed_comes_back_and_does_not_show_meanwhile) {
  for (const std::uint32_t bytes : {1U, 16U, 900U, 4096U, 100'000U}) {
    const auto page = text(bytes);
    const auto image = sealed(place, page);
    EXPECT_NE(std::memcmp(image.data(), page.data(), bytes), 0);
    EXPECT_TRUE(opens(place, image, page));
  }
}

TEST_F(Seal, a_text_is_sealed_and_opened_where_it_stands) {
  const auto page = text(4096);
  auto image = page;
  image.resize(page.size() + Sealer::kTagBytes);
  sealer->seal(place, image.data(), 4096, image.data());
  EXPECT_EQ(image, sealed(place, page));
  ASSERT_TRUE(sealer->open(place, image.data(), 4096, image.data()));
  EXPECT_EQ(std::memcmp(image.data(), page.data(), page.size()), 0);
}

TEST_F(Seal, every_flipped_bit_is_refused) {
  const auto page = text(96);
  auto image = sealed(place, page);
  for (std::size_t bit = 0; bit < image.size() * 8; ++bit) {
    image[bit / 8] ^= static_cast<std::byte>(1U << bit % 8);
    EXPECT_FALSE(opens(place, image, page)) << bit;
    image[bit / 8] ^= static_cast<std::byte>(1U << bit % 8);
  }
  EXPECT_TRUE(opens(place, image, page));
}

TEST_F(Seal, an_image_of_another_slot_place_shape_or_engine_is_refused) {
  const auto page = text(900);
  const auto image = sealed(place, page);
  SealedPlace other = place;
  other.slot = 78;
  EXPECT_FALSE(opens(other, image, page));
  other = place;
  other.object = 4;  // an older filling of the same place in the books
  EXPECT_FALSE(opens(other, image, page));
  other = place;
  other.offset = 704;
  EXPECT_FALSE(opens(other, image, page));
  other = place;
  other.shape = 2U << 13 | 900;
  EXPECT_FALSE(opens(other, image, page));
  auto made = Sealer::create(machine);
  ASSERT_TRUE(made);
  sealer.swap(*made);
  EXPECT_FALSE(opens(place, image, page));
}

TEST_F(Seal, neither_direction_allocates) {
  ASSERT_TRUE(g_counting);
  ASSERT_GT(g_allocations, 0u);
  const auto page = text(4096);
  auto image = sealed(place, page);
  std::vector<std::byte> back(4096);
  // In a thread that has never called OpenSSL before: a fault may come in any.
  std::thread([&] {
    const std::uint64_t before = g_allocations;
    sealer->seal(place, page.data(), 4096, image.data());
    EXPECT_TRUE(sealer->open(place, image.data(), 4096, back.data()));
    image[5] ^= std::byte{1};
    EXPECT_FALSE(sealer->open(place, image.data(), 4096, back.data()));
    EXPECT_EQ(g_allocations, before);
  }).join();
}

TEST_F(Seal, several_threads_seal_at_once) {
  std::vector<std::thread> threads;
  const auto page = text(2000);
  for (std::uint32_t t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      std::vector<std::byte> image(2016), back(2000);
      for (std::uint32_t i = 0; i < 500; ++i) {
        const SealedPlace own{.object = 1 + t, .offset = i * 64, .slot = i, .shape = 2000};
        sealer->seal(own, page.data(), 2000, image.data());
        ASSERT_TRUE(sealer->open(own, image.data(), 2000, back.data()));
        ASSERT_EQ(back, page);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_TRUE(sealer->idle());
}

}  // namespace
}  // namespace holdfast::tests
