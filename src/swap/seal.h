// Encryption of what leaves this machine: AES-256-GCM by OpenSSL, under a key that is made when the
// engine is, stands in its memory alone, and goes with it.
//
// What it is for: an image that comes back is the one that was sent, for the same slot, from the
// same place, or it is refused: flipped bits, another slot's image, an older one, another engine's.
//
// How: the nonce is the place, an object's number and an offset in it. A number is never given to a
// second object and a place is filled once, so no nonce serves two contents (a write that is tried
// again sends the same bytes). What the image is of, its slot and its shape, is authenticated along
// with it.
//
// Concurrency: several threads at once; a pool of cipher states, made at the beginning, so that
// neither direction allocates. Async-signal-safe; blocks (spins) where all states are lent.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "base/base.h"
#include "sync/sync.h"
#include "sys/sys.h"

struct evp_cipher_ctx_st;

namespace holdfast::swap {

// What a sealed text is and where it stands.
struct SealedPlace {
  std::uint64_t object = 0;  // number of its object, never 0
  std::uint32_t offset = 0;  // in the object, bytes
  std::uint32_t slot = 0;
  std::uint32_t shape = 0;  // encoding and length
};

class Sealer {
 public:
  static constexpr std::uint32_t kTagBytes = 16;

  // Makes the key. Errors: unsupported (this OpenSSL has no AES-256-GCM).
  [[nodiscard]] static Expected<std::unique_ptr<Sealer>> create(sys::Machine& machine);
  ~Sealer();
  Sealer(const Sealer&) = delete;
  Sealer& operator=(const Sealer&) = delete;

  // Encrypts `bytes` from `text` to `sealed`, which has room for kTagBytes more; they may be the
  // same.
  void seal(const SealedPlace& place, const std::byte* text, std::uint32_t bytes,
            std::byte* sealed) noexcept;
  // Decrypts `bytes` and looks at the tag behind them; false: it is not what was sealed for that
  // place, and `text` holds nothing of use. They may be the same.
  [[nodiscard]] bool open(const SealedPlace& place, const std::byte* sealed, std::uint32_t bytes,
                          std::byte* text) noexcept;

  [[nodiscard]] bool idle() const noexcept { return pool_.idle(); }

 private:
  struct States {
    evp_cipher_ctx_st* seal = nullptr;
    evp_cipher_ctx_st* open = nullptr;
  };

  explicit Sealer(std::uint32_t count);
  [[nodiscard]] bool prepare(sys::Machine& machine);

  sync::LeasePool pool_;
  std::unique_ptr<States[]> states_;
};

}  // namespace holdfast::swap
