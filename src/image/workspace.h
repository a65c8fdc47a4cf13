// Room to read one group in: its record, its pages, and what zstd needs. Made when an image is
// opened, borrowed for one read, so that a fault handler can read pages without allocating.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "base/base.h"
#include "sync/sync.h"
#include "sys/sys.h"

namespace holdfast::image {

class WorkspacePool {
 public:
  static constexpr std::uint64_t kNoGroup = ~std::uint64_t{0};

  // with_zstd: some group needs it. Errors: out of address space.
  [[nodiscard]] static Expected<std::unique_ptr<WorkspacePool>> create(sys::Machine& machine,
                                                                       bool with_zstd);
  ~WorkspacePool();
  WorkspacePool(const WorkspacePool&) = delete;
  WorkspacePool& operator=(const WorkspacePool&) = delete;

 private:
  friend class Workspace;
  WorkspacePool(sys::Machine& machine, std::uint32_t count, std::uint64_t stride);

  sys::Machine& machine_;
  sync::LeasePool leases_;
  const std::uint64_t stride_;  // bytes of one workspace
  Address address_ = 0;
  std::byte* memory_ = nullptr;
  std::vector<std::uint64_t> groups_;  // by workspace: whose pages stand in it; kNoGroup: nobody's
};

// One workspace, for as long as it lives. Async-signal-safe.
class Workspace {
 public:
  explicit Workspace(WorkspacePool& pool) noexcept : pool_(pool), index_(pool.leases_.take()) {}
  ~Workspace() { pool_.leases_.give(index_); }
  Workspace(const Workspace&) = delete;
  Workspace& operator=(const Workspace&) = delete;

  [[nodiscard]] std::byte* record() const noexcept {
    return pool_.memory_ + index_ * pool_.stride_;
  }
  [[nodiscard]] std::byte* pages() const noexcept;
  [[nodiscard]] std::byte* zstd_state() const noexcept;
  // The group whose record and pages stand here already: whoever had it last may have read the
  // neighbour of the page that is wanted.
  [[nodiscard]] std::uint64_t group() const noexcept { return pool_.groups_[index_]; }
  void set_group(std::uint64_t group) noexcept { pool_.groups_[index_] = group; }

 private:
  WorkspacePool& pool_;
  const std::uint32_t index_;
};

}  // namespace holdfast::image
