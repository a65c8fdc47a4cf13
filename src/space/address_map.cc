#include "space/address_map.h"

namespace holdfast::space {
namespace {
constexpr std::uint64_t kCoarseBytes = (std::uint64_t{1} << (47 - 30)) * 2;
constexpr std::uint64_t kFineBytes = (std::uint64_t{1} << (47 - kHugeShift)) * 2;
}  // namespace

AddressMap::~AddressMap() {
  if (table_ != 0) machine_.release(table_, kCoarseBytes + kFineBytes);
}

Expected<void> AddressMap::start() noexcept {
  table_ = TRY(machine_.reserve(kCoarseBytes + kFineBytes, kPageSize, sys::Purpose::table));
  std::byte* memory = machine_.view(table_);
  coarse_ = reinterpret_cast<Id*>(memory);
  fine_ = reinterpret_cast<Id*>(memory + kCoarseBytes);
  return {};
}

void AddressMap::set(Address address, std::uint64_t bytes, RegionId region) noexcept {
  HF_DCHECK2(address % kHugeSize == 0 && bytes % kHugeSize == 0, address, bytes);
  constexpr std::uint64_t kGiB = std::uint64_t{1} << kCoarseShift;
  const auto id = static_cast<std::uint16_t>(region.value + 1);
  for (const Address end = address + bytes; address < end;) {
    if (address % kGiB == 0 && end - address >= kGiB) {
      coarse_[address >> kCoarseShift].store(id, std::memory_order_release);
      address += kGiB;
    } else {
      fine_[address >> kHugeShift].store(id, std::memory_order_release);
      address += kHugeSize;
    }
  }
}

}  // namespace holdfast::space
