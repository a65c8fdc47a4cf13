#include "space/shared_tables.h"

#include <cstring>

namespace holdfast::space {
namespace {
constexpr std::uint64_t kHeaderBytes =
    round_up(std::uint64_t{SharedTables::kTablesMax} * sizeof(SharedTables::Header), kPageSize);
constexpr std::uint64_t kValueBytes = std::uint64_t{SharedTables::kTablesMax} * kPageSize;
}  // namespace

SharedTables::~SharedTables() {
  if (headers_address_ != 0) machine_.release(headers_address_, kHeaderBytes);
  if (values_address_ != 0) machine_.release(values_address_, kValueBytes);
}

Expected<void> SharedTables::start() noexcept {
  headers_address_ = TRY(machine_.reserve(kHeaderBytes, kPageSize, sys::Purpose::table));
  values_address_ = TRY(machine_.reserve(kValueBytes, kPageSize, sys::Purpose::table));
  headers_ = reinterpret_cast<Header*>(machine_.view(headers_address_));
  values_ = reinterpret_cast<std::uint64_t*>(machine_.view(values_address_));
  return {};
}

TableId SharedTables::make() noexcept {
  const std::span<Header> headers(headers_, kTablesMax);
  std::uint32_t table = free_.pop(headers);
  if (table == base::kNoLink) {
    table = used_.load(std::memory_order_relaxed);
    do {
      if (table == kTablesMax) return 0;
    } while (!used_.compare_exchange_weak(table, table + 1, std::memory_order_acq_rel));
  }
  Header& made = headers_[table];
  made.references.store(1, std::memory_order_relaxed);
  made.promised = 0;
  made.state.store(kPending, std::memory_order_release);
  return table;
}

void SharedTables::get(TableId table) noexcept {
  const std::uint32_t old = headers_[table].references.fetch_add(1, std::memory_order_relaxed);
  HF_DCHECK2(old > 0, table, old);
}

bool SharedTables::try_get(TableId table) noexcept {
  std::atomic<std::uint32_t>& references = headers_[table].references;
  std::uint32_t old = references.load(std::memory_order_relaxed);
  do {
    if (old == 0) return false;
  } while (!references.compare_exchange_weak(old, old + 1, std::memory_order_acq_rel,
                                             std::memory_order_relaxed));
  return true;
}

bool SharedTables::put(TableId table) noexcept {
  const std::uint32_t old = headers_[table].references.fetch_sub(1, std::memory_order_acq_rel);
  HF_CHECK2(old > 0, table, old);
  return old == 1;
}

void SharedTables::release(TableId table) noexcept {
  Header& header = headers_[table];
  header.state.store(kFree, std::memory_order_release);
  if (machine_.discard(values_address_ + std::uint64_t{table} * kPageSize, kPageSize) != 0) {
    std::memset(values_of(table), 0, kPageSize);
  }
  free_.push(std::span<Header>(headers_, kTablesMax), table);
}

}  // namespace holdfast::space
