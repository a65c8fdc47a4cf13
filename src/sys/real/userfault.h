// The userfaultfd descriptor: how it is opened, what it can do, and its ioctls with their errnos
// made plain. Nothing above this file knows an ioctl number.
//
// Debian 12's headers end at Linux 6.1, so what came later (MOVE 6.8, POISON 6.6) is defined here
// under our own names: newer headers then do not collide.
//
// Opening, in this order: /dev/userfaultfd (its permissions alone decide; serves faults taken in
// the kernel too), the system call, and, where only the program's own faults matter, the system
// call with UFFD_USER_MODE_ONLY, which needs no privilege since Linux 5.11.
#pragma once

#include <linux/userfaultfd.h>

#include <cstddef>
#include <cstdint>

#include "sys/machine.h"

namespace holdfast::sys::real {

inline constexpr std::uint64_t kFeatureSigbus = std::uint64_t{1} << 7;
inline constexpr std::uint64_t kFeatureThreadId = std::uint64_t{1} << 8;
inline constexpr std::uint64_t kFeatureWriteProtect = std::uint64_t{1} << 0;
inline constexpr std::uint64_t kFeaturePoison = std::uint64_t{1} << 14;
inline constexpr std::uint64_t kFeatureWriteProtectAsync = std::uint64_t{1} << 15;
inline constexpr std::uint64_t kFeatureMove = std::uint64_t{1} << 16;
inline constexpr std::uint64_t kFeatureRwp = std::uint64_t{1} << 17;  // Linux 7.2

// Which way a descriptor was had.
enum class UserfaultDoor : std::uint8_t { device, system_call, system_call_user_mode };

// A raw descriptor, before its features are chosen. fd < 0: none could be had.
struct RawUserfault {
  int fd = -1;
  UserfaultDoor door = UserfaultDoor::device;
  int device_errno = 0;       // what /dev/userfaultfd said; 0: it works
  int system_call_errno = 0;  // what the last system call said; 0: it worked or was not needed
};

// Opens a descriptor that is close-on-exec and non-blocking. kernel_faults: faults that system
// calls take must be served too, so user-mode-only will not do.
[[nodiscard]] RawUserfault open_raw_userfault(bool kernel_faults) noexcept;

// One way in alone, for probes: the fd, or minus the errno.
[[nodiscard]] int open_userfault_device() noexcept;
[[nodiscard]] int open_userfault_system_call(int extra_flags) noexcept;

// What UFFDIO_API answers when asked for nothing: the features the kernel has. A descriptor
// accepts features once, so `fd` is spent afterwards. errno in `error`.
[[nodiscard]] std::uint64_t features_of(int fd, int& error) noexcept;

// The error for a descriptor that could not be had, with its remedy.
[[nodiscard]] Error userfault_refused(const RawUserfault& raw, Delivery delivery) noexcept;

// An open descriptor with its features agreed. Owns the fd. All calls but open are
// async-signal-safe.
class Userfault {
 public:
  Userfault() noexcept = default;
  ~Userfault();
  Userfault(const Userfault&) = delete;
  Userfault& operator=(const Userfault&) = delete;

  // Opens it for the delivery. Once.
  [[nodiscard]] Expected<void> open(Delivery delivery) noexcept;

  [[nodiscard]] int fd() const noexcept { return fd_; }
  [[nodiscard]] UserfaultDoor door() const noexcept { return door_; }
  [[nodiscard]] bool has(std::uint64_t feature) const noexcept {
    return (features_ & feature) != 0;
  }

  // errno of each.
  // For missing pages, and for protected ones where the kernel has that.
  int register_range(Address address, std::uint64_t bytes) const noexcept;
  int unregister(Address address, std::uint64_t bytes) const noexcept;
  int protect(Address address, std::uint64_t bytes, Protection protection) const noexcept;
  int poison(Address address, std::uint64_t bytes) const noexcept;
  void wake(Address address, std::uint64_t bytes) const noexcept;

  // Whole transfers: partial progress is continued, and what stopped them is found out.
  Transfer copy(Address to, const std::byte* from, std::uint64_t bytes,
                Protection protection) const noexcept;
  Transfer move(Address to, Address from, std::uint64_t bytes) const noexcept;

 private:
  int fd_ = -1;
  UserfaultDoor door_ = UserfaultDoor::device;
  std::uint64_t features_ = 0;  // what the kernel has, not only what we asked for
};

}  // namespace holdfast::sys::real
