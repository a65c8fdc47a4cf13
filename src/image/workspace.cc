#include "image/workspace.h"

#include "image/format.h"
#include "image/group_codec.h"

namespace holdfast::image {
namespace {
constexpr std::uint64_t kRecordRoom = round_up(kRecordMax, kPageSize);
}  // namespace

WorkspacePool::WorkspacePool(sys::Machine& machine, std::uint32_t count, std::uint64_t stride)
    : machine_(machine), leases_(count), stride_(stride), groups_(count, kNoGroup) {}

WorkspacePool::~WorkspacePool() {
  HF_DCHECK(leases_.idle());
  if (memory_ != nullptr) machine_.release(address_, stride_ * leases_.count());
}

Expected<std::unique_ptr<WorkspacePool>> WorkspacePool::create(sys::Machine& machine,
                                                               bool with_zstd) {
  // One for each CPU that faults, and a few for those who look at hashes meanwhile.
  const std::uint32_t count = machine.cpu_count() + 4;
  const std::uint64_t stride =
      kRecordRoom + kGroupBytes + (with_zstd ? round_up(unpack_state_bytes(), kPageSize) : 0);
  std::unique_ptr<WorkspacePool> pool(new WorkspacePool(machine, count, stride));
  pool->address_ = TRY(machine.reserve(stride * count, kPageSize, sys::Purpose::table));
  pool->memory_ = machine.view(pool->address_);
  return pool;
}

std::byte* Workspace::pages() const noexcept { return record() + kRecordRoom; }
std::byte* Workspace::zstd_state() const noexcept { return pages() + kGroupBytes; }

}  // namespace holdfast::image
