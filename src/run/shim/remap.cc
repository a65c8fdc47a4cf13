// The one function of libc that the shim replaces: mremap.
//
// What a program maps beside a mapping that it has becomes one with it, and it may move both in one
// call. Beside a managed mapping it stays apart until it is managed too; and for ever, if it was
// touched before. The kernel then refuses the call (EFAULT). So the pager is asked to look, and if
// they still are several, they are moved one by one.
//
// Programs that call the kernel past libc see EFAULT.
#include <linux/mman.h>

#include "run/shim/mappings.h"
#include "run/shim/protocol.h"
#include "run/shim/system_call.h"

extern "C" {
[[gnu::weak]] int* __errno_location();
}

namespace holdfast::run::shim {
namespace {

constexpr long kEfault = 14;
constexpr long kMoves = MREMAP_MAYMOVE | MREMAP_FIXED;

struct Call {
  std::uint64_t old;
  std::uint64_t old_bytes;
  std::uint64_t new_bytes;
  long flags;
  std::uint64_t target;
};

long remap(const Call& call) noexcept {
  return system_call(__NR_mremap, static_cast<long>(call.old), static_cast<long>(call.old_bytes),
                     static_cast<long>(call.new_bytes), call.flags, static_cast<long>(call.target));
}

// Whether the range lies in one mapping. It is asked to grow to all there is, which is refused; if
// it were several, that would be refused first.
bool is_one(std::uint64_t start, std::uint64_t bytes) noexcept {
  constexpr std::uint64_t kEverything = (std::uint64_t{1} << 47) - kShimPage;
  return remap({start, bytes, kEverything, 0, 0}) != -kEfault;
}

// How much of the range, from its start on, is one mapping; 0: there is none.
std::uint64_t first_piece(std::uint64_t start, std::uint64_t bytes) noexcept {
  if (is_one(start, bytes)) return bytes;
  std::uint64_t fits = 0;
  std::uint64_t fails = bytes / kShimPage;
  while (fits + 1 < fails) {
    const std::uint64_t middle = fits + (fails - fits) / 2;
    (is_one(start, middle * kShimPage) ? fits : fails) = middle;
  }
  return fits * kShimPage;
}

// What is mapped without a gap, however many mappings that is.
bool has_no_gap(std::uint64_t start, std::uint64_t bytes) noexcept {
  while (bytes > 0) {
    const std::uint64_t piece = first_piece(start, bytes);
    if (piece == 0) return false;
    start += piece;
    bytes -= piece;
  }
  return true;
}

// Moves a range of several mappings to where as much is reserved; the last piece becomes larger.
long move_pieces(const Call& call, std::uint64_t target) noexcept {
  for (std::uint64_t done = 0; done < call.old_bytes;) {
    const std::uint64_t piece = first_piece(call.old + done, call.old_bytes - done);
    if (piece == 0) return -kEfault;  // somebody else changes it meanwhile
    const bool is_last = done + piece == call.old_bytes;
    const std::uint64_t bytes = is_last ? call.new_bytes - done : piece;
    const long result = remap({call.old + done, piece, bytes, kMoves, target + done});
    if (result < 0 && result > -4096) return result;
    done += piece;
  }
  return static_cast<long>(target);
}

long remap_pieces(Call call) noexcept {
  if ((call.flags & ~kMoves) != 0 || !has_no_gap(call.old, call.old_bytes)) return -kEfault;
  if (call.new_bytes < call.old_bytes) {
    system_call(__NR_munmap, static_cast<long>(call.old + call.new_bytes),
                static_cast<long>(call.old_bytes - call.new_bytes));
    call.old_bytes = call.new_bytes;
  }
  const bool is_fixed = (call.flags & MREMAP_FIXED) != 0;
  if (!is_fixed && call.new_bytes == call.old_bytes) return static_cast<long>(call.old);
  if (is_fixed) return move_pieces(call, call.target);
  if ((call.flags & MREMAP_MAYMOVE) == 0) return -kEfault;
  const long reserved = system_call(__NR_mmap, 0, static_cast<long>(call.new_bytes), PROT_NONE,
                                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (reserved < 0 && reserved > -4096) return reserved;
  return move_pieces(call, static_cast<std::uint64_t>(reserved));
}

std::uint64_t rounded(std::uint64_t bytes) noexcept {
  return (bytes + kShimPage - 1) & ~(kShimPage - 1);
}

// To a chosen place the kernel moves what it can, and unmaps what is too much, before it finds that
// the rest is another mapping. There it is asked first.
long remap_one(const Call& call) noexcept {
  const bool is_fixed = (call.flags & MREMAP_FIXED) != 0;
  return is_fixed && !is_one(call.old, rounded(call.old_bytes)) ? -kEfault : remap(call);
}

long managed_remap(Call call) noexcept {
  long result = remap_one(call);
  if (result != -kEfault) return result;
  if (!have_mappings_looked_at()) return remap(call);
  result = remap_one(call);
  if (result != -kEfault) return result;
  call.old_bytes = rounded(call.old_bytes);
  call.new_bytes = rounded(call.new_bytes);
  return remap_pieces(call);
}

}  // namespace
}  // namespace holdfast::run::shim

extern "C" [[gnu::visibility("default")]] void* mremap(void* old, unsigned long old_bytes,
                                                       unsigned long new_bytes, int flags,
                                                       void* target) {
  using namespace holdfast::run::shim;
  const auto number = [](const void* pointer) { return reinterpret_cast<std::uint64_t>(pointer); };
  long result = managed_remap({number(old), old_bytes, new_bytes, flags, number(target)});
  if (result < 0 && result > -4096) {
    if (&__errno_location != nullptr) *__errno_location() = static_cast<int>(-result);
    result = -1;
  }
  return reinterpret_cast<void*>(result);
}
