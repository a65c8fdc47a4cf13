#include "space/address_space.h"

#include <algorithm>
#include <cerrno>

namespace holdfast::space {
namespace {

// A fault whose page is resident each time it comes back: somebody dropped the memory behind the
// engine (MADV_DONTNEED on a region). Threads that wait for one page explain a few of them.
constexpr std::uint32_t kStuckMax = 100000;

Error registration_error(int error, Address address) {
  return {.code = error == ENOMEM ? Errc::out_of_memory : Errc::system,
          .os_errno = error,
          .doing = "register region",
          .what = "address",
          .value = address,
          .remedy = "see `holdfast doctor` for what this machine allows"};
}

}  // namespace

Expected<RegionRecord*> AddressSpace::map(PageCount pages, PageCount capacity,
                                          object::SourceRef source) {
  RegionRecord& region = *TRY(parts_.regions.claim(capacity.value, parts_.window_pages));
  const int error = parts_.pmap->attach(region.base, region.reserved_bytes);
  if (error != 0) {
    const Address base = region.base;
    parts_.regions.drop(region);
    return fail(registration_error(error, base));
  }
  region.pages.store(pages.value, std::memory_order_release);
  region.source_pages = source ? pages.value : 0;
  region.source = std::move(source);
  parts_.regions.publish(region);
  return &region;
}

Expected<RegionRecord*> AddressSpace::map_file(PageCount pages, PageCount capacity,
                                               object::SourceRef source, bool read_only) {
  RegionRecord& region = *TRY(parts_.regions.claim(capacity.value, parts_.window_pages));
  const int error = parts_.pmap->attach(region.base, region.reserved_bytes);
  if (error != 0) {
    const Address base = region.base;
    parts_.regions.drop(region);
    return fail(registration_error(error, base));
  }
  region.pages.store(pages.value, std::memory_order_release);
  region.source_pages = capacity.value;
  region.source = std::move(source);
  region.from_file = true;
  region.read_only = read_only;
  // A private mapping is as its file is now, and so are its copies.
  if (read_only || region.source->is_written()) {
    region.before = base::CountedRef<BeforeImages>(new BeforeImages(parts_, region.id));
  }
  parts_.regions.publish(region);
  return &region;
}

Expected<void> AddressSpace::resize(RegionRecord& region, PageCount pages) {
  if (!region.enter()) return fail({.code = Errc::not_mapped, .doing = "resize region"});
  Expected<void> result;
  const std::uint64_t old = region.page_count();
  if (pages.value == 0 || pages.value > region.capacity) {
    result = fail({.code = Errc::invalid_argument,
                   .doing = "resize region",
                   .what = "bytes",
                   .value = pages.bytes(),
                   .limit = region.capacity << kPageShift,
                   .remedy = "give map_anonymous the capacity that the region may grow to"});
  } else {
    if (pages.value < old) result = detach(region, pages.value, old);
    // What comes into view, no save has looked at.
    for (std::uint64_t at = old; at < pages.value; at = (at / kLeafEntries + 1) * kLeafEntries) {
      if (region.leaves[at / kLeafEntries].load(std::memory_order_acquire) == 0) continue;
      region.leaf_of(at).expect_change();
    }
    if (result) region.pages.store(pages.value, std::memory_order_release);
  }
  region.leave();
  return result;
}

Expected<std::uint64_t> AddressSpace::prefetch(RegionRecord& region, std::uint64_t offset,
                                               std::uint64_t bytes) {
  if (!region.enter()) return fail({.code = Errc::not_mapped, .doing = "prefetch"});
  const std::uint64_t most = most_at_once();
  const std::uint64_t end = std::min(pages_for(offset + bytes).value, region.page_count());
  std::uint64_t came = 0;
  Expected<std::uint64_t> result;
  for (std::uint64_t at = offset >> kPageShift; at < end && came < most; ++at) {
    if (region.entry(at).peek().kind() == EntryKind::resident) continue;
    const auto width = static_cast<std::uint32_t>(std::min<std::uint64_t>(kRunMax, end - at));
    const auto pages = faults_.bring_in(region, at, {width, 1});
    if (!pages) {
      result = pages;
      break;
    }
    came += *pages;
  }
  region.leave();
  if (result) *result = came;
  return result;
}

Expected<void> AddressSpace::advise(RegionRecord& region, std::uint64_t offset, std::uint64_t bytes,
                                    Advice advice) {
  if (advice == Advice::will_need) {
    const auto came = prefetch(region, offset, bytes);
    return came ? Expected<void>() : std::unexpected(came.error());
  }
  if (!region.enter()) return fail({.code = Errc::not_mapped, .doing = "advise"});
  Expected<void> result;
  if (advice == Advice::free) {
    const std::uint64_t first = pages_for(offset).value;
    const std::uint64_t end = std::min((offset + bytes) >> kPageShift, region.page_count());
    if (first < end) result = detach(region, first, end);
  } else if (advice == Advice::cold) {
    const std::uint64_t first = (offset >> kPageShift) / parts_.window_pages;
    const std::uint64_t last = (offset + bytes - 1) / kPageSize / parts_.window_pages;
    for (std::uint64_t w = first; w <= last; ++w) {
      region.windows[w].cold.store(1, std::memory_order_relaxed);
    }
  } else {
    region.advice.store(advice, std::memory_order_relaxed);
  }
  region.leave();
  return result;
}

bool AddressSpace::owns(Address address) const noexcept {
  return parts_.regions.find(address) != nullptr;
}

sys::FaultOutcome AddressSpace::on_fault(Address address, sys::Access access) noexcept {
  return serve_fault(address, access, swap::Reach::anywhere);
}

sys::FaultOutcome AddressSpace::on_near_fault(Address address, sys::Access access) noexcept {
  return serve_fault(address, access, swap::Reach::here);
}

sys::FaultOutcome AddressSpace::serve_fault(Address address, sys::Access access,
                                            swap::Reach reach) noexcept {
  RegionRecord* region = parts_.regions.find(address);
  if (region == nullptr) return sys::FaultOutcome::not_ours;
  parts_.counters.add(Count::faults);
  if (sync::in_interrupt()) {
    parts_.counters.add(Count::refused_interrupt);
    return refuse({.code = Errc::interrupt_context,
                   .doing = "touch managed memory",
                   .what = "address",
                   .value = address,
                   .remedy = "a signal handler may touch only pinned memory: pin it beforehand"},
                  address);
  }
  const sync::EngineScope scope;
  const bool entered = region->enter();
  const std::uint64_t index = region->index_of(address);
  if (!entered || index >= region->page_count()) {
    if (entered) region->leave();
    return refuse({.code = Errc::not_mapped,
                   .doing = "touch managed memory",
                   .what = "address",
                   .value = address,
                   .remedy = "the address lies beyond the region's size, or in an unmapped region"},
                  address);
  }
  if (region->read_only && access == sys::Access::write) {
    parts_.counters.add(Count::refused_write);
    const Error error{
        .code = Errc::permission,
        .doing = region->from_file ? "store to a read-only file mapping" : "store to a snapshot",
        .what = "address",
        .value = address,
        .remedy = "a snapshot is immutable: clone it, and store to the clone",
        .holder = region->base};
    region->leave();
    return refuse(error, address);
  }
  const auto pages =
      faults_.bring_in(*region, index, FaultServer::plan_for(*region, index), access, reach);
  const bool stuck = pages && is_stuck(*region, index, *pages);
  if (pages && *pages == 0) parts_.pmap->wake(address);
  region->leave();
  if (!pages && pages.error().code == Errc::would_block) return sys::FaultOutcome::far;
  if (!pages) return refuse(pages.error(), address);
  if (!stuck) return sys::FaultOutcome::served;
  return refuse({.code = Errc::corrupted,
                 .doing = "touch managed memory",
                 .what = "address",
                 .value = address,
                 .remedy = "its memory was dropped behind the engine: use Region::advise(free)"},
                address);
}

// True if faults at one page keep finding it resident: then its memory is gone, and a zero page
// must not take the place of the data.
bool AddressSpace::is_stuck(RegionRecord& region, std::uint64_t index,
                            std::uint32_t came_in) noexcept {
  if (came_in > 0) return false;
  const Address page = region.address_of(index);
  if (stuck_address_.exchange(page, std::memory_order_relaxed) != page) {
    stuck_count_.store(0, std::memory_order_relaxed);
    return false;
  }
  return stuck_count_.fetch_add(1, std::memory_order_relaxed) >= kStuckMax;
}

sys::FaultOutcome AddressSpace::refuse(const Error& error, Address address) noexcept {
  parts_.counters.add(Count::faults_refused);
  if (parts_.errors.report != nullptr &&
      parts_.errors.report(error, address, parts_.errors.context)) {
    return sys::FaultOutcome::served;
  }
  char line[512];
  const char prefix[] = "holdfast: ";
  std::copy(prefix, prefix + sizeof prefix, line);
  (void)error.format(line + sizeof prefix - 1, sizeof line - sizeof prefix);
  parts_.machine.print_line(line);
  return sys::FaultOutcome::fatal;
}

page::Page* AddressSpace::resident_page(Address address) noexcept {
  RegionRecord* region = parts_.regions.find(address);
  if (region == nullptr || region->index_of(address) >= region->page_count()) return nullptr;
  const EntryValue value = region->entry(region->index_of(address)).peek();
  return value.kind() == EntryKind::resident ? &parts_.pool.page(value.frame()) : nullptr;
}

}  // namespace holdfast::space
