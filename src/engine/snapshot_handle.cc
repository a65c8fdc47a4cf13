#include "engine/snapshot_handle.h"

#include <algorithm>
#include <cstring>
#include <memory>
#include <new>

namespace holdfast::engine {
namespace {

constexpr std::uint32_t kReadPages = 64;  // read in one piece: as many as a batch of loads

struct AlignedDelete {
  void operator()(std::byte* memory) const noexcept {
    ::operator delete(memory, std::align_val_t{kPageSize});
  }
};
using PageBuffer = std::unique_ptr<std::byte, AlignedDelete>;

PageBuffer make_buffer(std::uint32_t pages) noexcept {
  return PageBuffer(static_cast<std::byte*>(
      ::operator new(pages * kPageSize, std::align_val_t{kPageSize}, std::nothrow)));
}

std::unexpected<Error> no_buffer(const char* doing) noexcept {
  return fail({.code = Errc::out_of_memory, .os_errno = 12, .doing = doing, .what = "buffer"});
}

}  // namespace

Expected<void> SnapshotHandle::read(std::uint64_t offset, std::span<std::byte> to) {
  if (sync::in_interrupt()) return fail(engine_.refused_in_interrupt("read snapshot"));
  if (offset > size() || to.size() > size() - offset) {
    return fail({.code = Errc::invalid_argument,
                 .doing = "read snapshot",
                 .what = "end of the range, as an offset in the snapshot",
                 .value = offset + to.size(),
                 .limit = size(),
                 .remedy = "give a range inside the snapshot"});
  }
  const PageBuffer buffer = make_buffer(kReadPages);
  if (buffer == nullptr) return no_buffer("read snapshot");
  while (!to.empty()) {
    const std::uint64_t skip = offset & (kPageSize - 1);
    const std::uint64_t bytes = std::min<std::uint64_t>(to.size(), kReadPages * kPageSize - skip);
    {
      const sync::EngineScope scope;
      TRY_VOID(engine_.space().read_pages(record_, offset >> kPageShift,
                                          static_cast<std::uint32_t>(pages_for(skip + bytes).value),
                                          buffer.get()));
    }
    std::memcpy(to.data(), buffer.get() + skip, bytes);
    to = to.subspan(bytes);
    offset += bytes;
  }
  return {};
}

Expected<void> SnapshotHandle::visit(const SnapshotControl* since, bool compare, Visit tell,
                                     void* context) {
  if (sync::in_interrupt()) return fail(engine_.refused_in_interrupt("look through snapshot"));
  if (since != nullptr && since->engine() != &engine_) {
    return fail({.code = Errc::invalid_argument,
                 .doing = "look through snapshot",
                 .what = "snapshot of another engine",
                 .remedy = "compare snapshots of one engine"});
  }
  space::RegionRecord* other =
      since == nullptr
          ? nullptr
          : &static_cast<SnapshotHandle*>(const_cast<SnapshotControl*>(since))->record_;
  const PageBuffer buffer = make_buffer(2);
  if (buffer == nullptr) return no_buffer("look through snapshot");
  for (std::uint64_t page = 0; page < record_.page_count();) {
    Expected<Run> run;
    {
      const sync::EngineScope scope;
      run = engine_.space().next_run(record_, other, compare, page, buffer.get());
    }
    if (!run) return std::unexpected(run.error());
    page += run->bytes >> kPageShift;
    if (!tell(*run, context)) break;
  }
  return {};
}

Expected<void> SnapshotHandle::drop() {
  if (sync::in_interrupt()) return fail(engine_.refused_in_interrupt("drop snapshot"));
  {
    const sync::EngineScope scope;
    const bool of_file = record_.moment != nullptr;
    TRY_VOID(engine_.space().unmap(record_));
    if (of_file) engine_.files().close_unused(engine_);
  }
  delete this;
  return {};
}

}  // namespace holdfast::engine
