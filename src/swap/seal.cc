#include "swap/seal.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>

#include <array>
#include <cstring>

namespace holdfast::swap {
namespace {

constexpr std::size_t kKeyBytes = 32;
constexpr std::size_t kNonceBytes = 12;

const unsigned char* in(const std::byte* bytes) noexcept {
  return reinterpret_cast<const unsigned char*>(bytes);
}
unsigned char* out(std::byte* bytes) noexcept { return reinterpret_cast<unsigned char*>(bytes); }

struct Nonce {
  explicit Nonce(const SealedPlace& place) noexcept {
    std::memcpy(bytes.data(), &place.object, sizeof place.object);
    std::memcpy(bytes.data() + sizeof place.object, &place.offset, sizeof place.offset);
  }
  std::array<unsigned char, kNonceBytes> bytes;
};

// Authenticated, but not sent.
struct Identity {
  explicit Identity(const SealedPlace& place) noexcept {
    std::memcpy(bytes.data(), &place.slot, sizeof place.slot);
    std::memcpy(bytes.data() + sizeof place.slot, &place.shape, sizeof place.shape);
  }
  std::array<unsigned char, 8> bytes;
};

}  // namespace

Sealer::Sealer(std::uint32_t count) : pool_(count), states_(std::make_unique<States[]>(count)) {}

Sealer::~Sealer() {
  HF_DCHECK(pool_.idle());
  for (std::uint32_t i = 0; i < pool_.count(); ++i) {
    EVP_CIPHER_CTX_free(states_[i].seal);  // clears the key
    EVP_CIPHER_CTX_free(states_[i].open);
  }
}

Expected<std::unique_ptr<Sealer>> Sealer::create(sys::Machine& machine) {
  std::unique_ptr<Sealer> sealer(new Sealer(machine.cpu_count() * 2 + 4));
  if (sealer->prepare(machine)) return sealer;
  return fail({.code = Errc::unsupported,
               .doing = "make an encryption key",
               .what = "AES-256-GCM of OpenSSL",
               .remedy = "far memory needs it: see that OpenSSL is configured to offer it"});
}

bool Sealer::prepare(sys::Machine& machine) {
  std::array<std::uint64_t, kKeyBytes / sizeof(std::uint64_t)> key;
  for (std::uint64_t& word : key) word = machine.random_u64();
  const auto* const bytes = reinterpret_cast<const unsigned char*>(key.data());
  EVP_CIPHER* const cipher = EVP_CIPHER_fetch(nullptr, "AES-256-GCM", nullptr);
  bool made = cipher != nullptr;
  for (std::uint32_t i = 0; made && i < pool_.count(); ++i) {
    States& s = states_[i];
    s.seal = EVP_CIPHER_CTX_new();
    s.open = EVP_CIPHER_CTX_new();
    made = s.seal != nullptr && s.open != nullptr &&
           EVP_EncryptInit_ex2(s.seal, cipher, bytes, nullptr, nullptr) == 1 &&
           EVP_DecryptInit_ex2(s.open, cipher, bytes, nullptr, nullptr) == 1;
  }
  EVP_CIPHER_free(cipher);  // the states keep it
  OPENSSL_cleanse(key.data(), sizeof key);
  return made;
}

void Sealer::seal(const SealedPlace& place, const std::byte* text, std::uint32_t bytes,
                  std::byte* sealed) noexcept {
  HF_DCHECK2(place.object != 0, place.offset, place.slot);
  const Nonce nonce(place);
  const Identity identity(place);
  const std::uint32_t lease = pool_.take();
  EVP_CIPHER_CTX* const state = states_[lease].seal;
  int length = 0;
  const auto count = static_cast<int>(bytes);
  const bool done =
      EVP_EncryptInit_ex2(state, nullptr, nullptr, nonce.bytes.data(), nullptr) == 1 &&
      EVP_EncryptUpdate(state, nullptr, &length, identity.bytes.data(), identity.bytes.size()) ==
          1 &&
      EVP_EncryptUpdate(state, out(sealed), &length, in(text), count) == 1 && length == count &&
      EVP_EncryptFinal_ex(state, out(sealed) + bytes, &length) == 1 &&
      EVP_CIPHER_CTX_ctrl(state, EVP_CTRL_AEAD_GET_TAG, kTagBytes, sealed + bytes) == 1;
  pool_.give(lease);
  HF_CHECK2(done, place.object, bytes);  // it depends on nothing but its arguments
}

bool Sealer::open(const SealedPlace& place, const std::byte* sealed, std::uint32_t bytes,
                  std::byte* text) noexcept {
  const Nonce nonce(place);
  const Identity identity(place);
  std::array<std::byte, kTagBytes> tag;
  std::memcpy(tag.data(), sealed + bytes, kTagBytes);
  const std::uint32_t lease = pool_.take();
  EVP_CIPHER_CTX* const state = states_[lease].open;
  int length = 0;
  const auto count = static_cast<int>(bytes);
  const bool done =
      EVP_DecryptInit_ex2(state, nullptr, nullptr, nonce.bytes.data(), nullptr) == 1 &&
      EVP_DecryptUpdate(state, nullptr, &length, identity.bytes.data(), identity.bytes.size()) ==
          1 &&
      EVP_DecryptUpdate(state, out(text), &length, in(sealed), count) == 1 && length == count &&
      EVP_CIPHER_CTX_ctrl(state, EVP_CTRL_AEAD_SET_TAG, kTagBytes, tag.data()) == 1 &&
      EVP_DecryptFinal_ex(state, out(text) + bytes, &length) == 1;
  pool_.give(lease);
  return done;
}

}  // namespace holdfast::swap
