#include "object/clean_hashes.h"

namespace holdfast::object {

Expected<void> CleanHashes::start(sys::Machine& machine, std::uint64_t frames) noexcept {
  bytes_ = pages_for(frames * sizeof(base::Hash128)).bytes();
  address_ = TRY(machine.reserve(bytes_, kPageSize, sys::Purpose::table));
  machine_ = &machine;
  hashes_ = {reinterpret_cast<base::Hash128*>(machine.view(address_)), frames};
  return {};
}

CleanHashes::~CleanHashes() {
  if (machine_ != nullptr) machine_->release(address_, bytes_);
}

}  // namespace holdfast::object
