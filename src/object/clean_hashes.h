// What each frame's page was like when it was last as its file has it: the hash by which a page
// that was not changed is known when it leaves, or when changes are saved.
//
// By frame and not by page of the file, so that the table is bounded by the budget: 16 bytes for
// each frame, backed as frames are used for files.
//
// Thread-safety: a frame's hash is guarded by the lock of the entry that has the frame. Any
// context.
#pragma once

#include <span>

#include "base/base.h"
#include "sys/sys.h"

namespace holdfast::object {

class CleanHashes {
 public:
  CleanHashes() noexcept = default;
  ~CleanHashes();
  CleanHashes(const CleanHashes&) = delete;
  CleanHashes& operator=(const CleanHashes&) = delete;

  // Errors: out_of_memory (address space). Once.
  Expected<void> start(sys::Machine& machine, std::uint64_t frames) noexcept;

  void set(FrameIndex frame, const base::Hash128& hash) noexcept { hashes_[frame.value] = hash; }
  // The page is not as the file has it, or nobody knows.
  void clear(FrameIndex frame) noexcept { hashes_[frame.value] = {}; }
  [[nodiscard]] bool matches(FrameIndex frame, const base::Hash128& hash) const noexcept {
    return hash != base::Hash128{} && hashes_[frame.value] == hash;
  }

 private:
  sys::Machine* machine_ = nullptr;
  Address address_ = 0;
  std::uint64_t bytes_ = 0;
  std::span<base::Hash128> hashes_;
};

}  // namespace holdfast::object
