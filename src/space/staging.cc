#include "space/staging.h"

#include <algorithm>

namespace holdfast::space {

StagingPool::~StagingPool() {
  if (address_ != 0) machine_.release(address_, bytes());
}

Expected<void> StagingPool::start() noexcept {
  count_ = std::min(machine_.cpu_count() * 2 + 4, kBuffersMax);
  address_ = TRY(machine_.reserve(bytes(), kPageSize, sys::Purpose::table));
  memory_ = machine_.view(address_);
  for (std::uint32_t i = count_; i-- > 0;) free_.push(nodes_, i);
  return {};
}

StagingBuffer::StagingBuffer(StagingPool& pool) noexcept : pool_(pool) {
  while ((index_ = pool.free_.pop(pool.nodes_)) == base::kNoLink) sync::parking().relax();
  memory_ = pool.memory_ + index_ * StagingPool::kBufferBytes;
}

StagingBuffer::~StagingBuffer() { pool_.free_.push(pool_.nodes_, index_); }

}  // namespace holdfast::space
