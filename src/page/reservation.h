// Reservation: frames promised to one caller, so that what follows cannot fail for want of memory.
#pragma once

#include <array>
#include <cstdint>

#include "page/descriptor.h"
#include "page/holders.h"

namespace holdfast::page {

inline constexpr std::uint32_t kReservationMax = 64;  // the widest fault run

class FramePool;

// Frames promised to one caller. Movable, not copyable; task context. Does not outlive its pool.
class Reservation {
 public:
  Reservation() noexcept = default;
  Reservation(Reservation&& other) noexcept;
  Reservation& operator=(Reservation&& other) noexcept;
  Reservation(const Reservation&) = delete;
  Reservation& operator=(const Reservation&) = delete;
  // What was not taken goes back to the pool.
  ~Reservation() { give_back(); }

  [[nodiscard]] std::uint32_t size() const noexcept { return size_; }
  // One of the promised frames: state held, count 1 (the caller's reference, of kind `holder`).
  // size() > 0. Cannot fail.
  [[nodiscard]] Page& take(Holder holder = Holder::caller) noexcept;

 private:
  friend class FramePool;
  void give_back() noexcept;

  FramePool* pool_ = nullptr;
  std::uint32_t size_ = 0;
  std::array<std::uint32_t, kReservationMax> frames_;  // the first size_ are promised
};

}  // namespace holdfast::page
