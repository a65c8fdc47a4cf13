// Pins: residency, on resident pages for a few atomic operations.
//
// A pin is one reference, counted in `pins` too. The pinner counts itself first and then looks at
// the entry again; whoever takes a page away locks its entry first and then looks at the pins. Both
// sides are seq_cst, so that at least one sees the other. The same holds for whoever shares the
// page copy-on-write: it marks the leaf first, and looks at the pins afterwards. A page that is
// shared or protected is made the region's own before it is pinned: what a device writes then lands
// where the region's owner looks.
#include <cerrno>

#include "space/address_space.h"

namespace holdfast::space {

using page::Page;

Page* AddressSpace::try_pin_page(RegionRecord& region, std::uint64_t index) noexcept {
  const Entry& entry = region.entry(index);
  EntryValue value;
  if (!entry.unlocked_value(value) || value.kind() != EntryKind::resident) return nullptr;
  Page& page = parts_.pool.page(value.frame());
  if (!parts_.pool.try_pin(page)) return nullptr;
  HF_INTERLEAVE();
  LeafRecord& leaf = region.leaf_of(index);
  if (leaf.pinned.load(std::memory_order_seq_cst) == 0) {
    leaf.pinned.store(1, std::memory_order_seq_cst);
  }
  const bool own = region.read_only || (leaf.pending.load(std::memory_order_seq_cst) == 0 &&
                                        leaf.is_writable(index % kLeafEntries));
  EntryValue again;
  if (own && entry.unlocked_value(again) && again == value) return &page;
  parts_.pool.unpin(page);
  return nullptr;
}

Expected<std::uintptr_t> AddressSpace::pin(Address address, std::uint64_t length,
                                           const PinTerms& terms) {
  // Who pins is about to look: the data comes along while entry and descriptor are waited for.
  __builtin_prefetch(reinterpret_cast<const void*>(address));  // never faults
  RegionRecord* region = parts_.regions.find(address);
  const Address last = address + (length == 0 ? 0 : length - 1);
  if (region == nullptr || region->state() != RegionRecord::State::live || last < address ||
      region->index_of(last) >= region->page_count()) {
    return fail(
        {.code = Errc::not_mapped,
         .doing = "pin",
         .what = "range, at address",
         .value = address,
         .limit = region == nullptr ? 0 : region->base + (region->page_count() << kPageShift),
         .remedy = "pin a range that lies inside one region"});
  }
  if (region->read_only && terms.access == Access::write) {
    return fail({.code = Errc::permission,
                 .doing = "pin for writing",
                 .what = "page of a snapshot, at address",
                 .value = address,
                 .remedy = "pin it for reading, or clone the snapshot"});
  }
  const std::uint64_t first = region->index_of(address);
  const std::uint64_t end = region->index_of(last) + 1;
  if (terms.account == PinAccountId::general) return pin_pages(*region, first, end, terms);
  TRY_VOID(charge(end - first, terms));
  auto pinned = pin_pages(*region, first, end, terms);
  if (!pinned) accounts_.discharge(terms.account, end - first);
  return pinned;
}

Expected<std::uintptr_t> AddressSpace::pin_pages(RegionRecord& region, std::uint64_t first,
                                                 std::uint64_t end, const PinTerms& terms) {
  if (end - first == 1) {
    Page* page = try_pin_page(region, first);
    if (page == nullptr) page = TRY(pin_slowly(region, first, 1, terms));
    return reinterpret_cast<std::uintptr_t>(page);
  }
  if (end - first > pins_limit()) return fail(too_many_pins(end - first));
  for (std::uint64_t index = first; index < end; ++index) {
    if (try_pin_page(region, index) != nullptr) continue;
    if (const auto pinned = pin_slowly(region, index, end - index, terms); !pinned) {
      unpin(region.address_of(first), index - first);
      return std::unexpected(pinned.error());
    }
  }
  return 0;
}

// Brings the page in until it holds still long enough to be pinned.
Expected<Page*> AddressSpace::pin_slowly(RegionRecord& region, std::uint64_t index,
                                         std::uint64_t left, const PinTerms& terms) {
  if (!terms.may_fault) {
    return fail({.code = Errc::would_block,
                 .doing = "pin without faults",
                 .what = "page that is not resident, at address",
                 .value = region.address_of(index),
                 .remedy = "pin() in task context brings it in"});
  }
  if (sync::in_interrupt()) {
    parts_.counters.add(Count::refused_interrupt);
    return fail({.code = Errc::interrupt_context,
                 .doing = "pin",
                 .what = "page that is not resident, at address",
                 .value = region.address_of(index),
                 .remedy = "pin in task context; an interrupt can pin only what is resident"});
  }
  const sync::EngineScope scope;
  if (!region.enter()) return fail({.code = Errc::not_mapped, .doing = "pin"});
  Expected<Page*> result = nullptr;
  do {
    RunPlan plan = FaultServer::plan_for(region, index);
    if (plan.stride == 1 || plan.pages == 1) {
      plan = {static_cast<std::uint32_t>(
                  std::max<std::uint64_t>(plan.pages, std::min<std::uint64_t>(left, kRunMax))),
              1};
    }
    const auto pages = faults_.bring_in(region, index, plan, sys::Access::write);
    if (!pages) {
      const bool short_of_frames = pages.error().code == Errc::out_of_memory;
      const std::uint64_t pinned = short_of_frames ? pinned_pages() : 0;
      result = fail(short_of_frames && pinned > 0 ? too_many_pins(left) : pages.error());
      break;
    }
    result = try_pin_page(region, index);
  } while (*result == nullptr);
  region.leave();
  return result;
}

void AddressSpace::unpin(const detail::PinnedRange& range) noexcept {
  unpin(range.first_page, range.pages, range.page);
  // Last: an account whose pins are gone may be closed.
  if (range.account != PinAccountId::general) accounts_.discharge(range.account, range.pages);
}

void AddressSpace::unpin(Address first_page, std::uint64_t pages, std::uintptr_t page) noexcept {
  if (page != 0) return unpin_page(*reinterpret_cast<Page*>(page));
  if (pages == 0) return;
  RegionRecord* region = parts_.regions.find(first_page);
  HF_CHECK2(region != nullptr, first_page, pages);
  const std::uint64_t first = region->index_of(first_page);
  for (std::uint64_t i = 0; i < pages; ++i) {
    const EntryValue value = region->entry(first + i).peek();
    HF_DCHECK2(value.kind() == EntryKind::resident, first + i, value.raw());
    unpin_page(parts_.pool.page(value.frame()));
  }
}

void AddressSpace::unpin_page(Page& page) noexcept {
  const RegionRecord& region = parts_.regions.record(page.owner().region);
  parts_.pool.unpin(page);
  // The region is gone but for its pinned pages: the reclaimer's thread looks whether it can
  // follow.
  if (region.state() == RegionRecord::State::zombie && parts_.reclaimer != nullptr) {
    parts_.reclaimer->wake();
  }
}

std::uint64_t AddressSpace::pinned_pages() noexcept {
  std::uint64_t pinned = 0;
  for (const Page& page : parts_.pool.pages()) pinned += page.pins() != 0 ? 1 : 0;
  return pinned;
}

std::uint64_t AddressSpace::pins_limit() noexcept {
  const std::uint64_t frames = parts_.pool.pages().size();
  const std::uint64_t kept = 2 * parts_.pool.watermarks().high + 2 * std::uint64_t{kRunMax};
  return frames > 2 * kept ? frames - kept : frames / 2;
}

std::uint64_t AddressSpace::all_pins() noexcept {
  std::uint64_t pins = 0;
  for (const Page& page : parts_.pool.pages()) pins += page.pins();
  return pins;
}

Expected<void> AddressSpace::charge(std::uint64_t pages, const PinTerms& terms) noexcept {
  if (accounts_.charge(terms.account, pages)) return {};
  parts_.counters.add(Count::refused_pins);
  const PinAccounts::View account = accounts_.view(static_cast<std::size_t>(terms.account));
  if (account.name == nullptr) {
    return fail({.code = Errc::invalid_argument,
                 .doing = "pin",
                 .what = "account",
                 .value = static_cast<std::uint64_t>(terms.account),
                 .limit = PinAccounts::kAccountsMax - 1,
                 .remedy = "charge pins to an account that is open"});
  }
  Error error{.code = Errc::pins_exceeded,
              .doing = "pin",
              .what = "pages that the account pins and asked for",
              .value = account.pages + pages,
              .limit = account.limit,
              .remedy = "let go of pins of the account, or open it with a higher limit"};
  accounts_.name_holders(error, all_pins());
  return fail(error);
}

// Says how much is pinned, and by whom: the region that holds most of it, and the accounts.
Error AddressSpace::too_many_pins(std::uint64_t wanted) noexcept {
  parts_.counters.add(Count::refused_pins);
  std::uint64_t pinned = 0;
  const RegionRecord* most = nullptr;
  std::uint64_t most_pins = 0;
  for (std::uint32_t id = 0; id < parts_.regions.used(); ++id) {
    const RegionRecord& region = parts_.regions.record(RegionId(static_cast<std::uint16_t>(id)));
    std::uint64_t pins = 0;
    for (const Page& page : parts_.pool.pages()) {
      pins += page.pins() != 0 && page.owner().region == region.id ? 1 : 0;
    }
    pinned += pins;
    if (pins > most_pins) {
      most_pins = pins;
      most = &region;
    }
  }
  Error error{.code = Errc::pins_exceeded,
              .doing = "pin",
              .what = "pages pinned already and asked for",
              .value = pinned + wanted,
              .limit = pins_limit(),
              .remedy = "unpin pages, pin smaller ranges, or raise memory_budget"};
  error.holder = most == nullptr ? 0 : most->base;
  error.held = most_pins;
  accounts_.name_holders(error, all_pins());
  return error;
}

}  // namespace holdfast::space
