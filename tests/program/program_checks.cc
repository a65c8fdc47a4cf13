// What a random program compares and proves.
#include <algorithm>
#include <array>
#include <cstring>

#include "program/program.h"

namespace holdfast::tests {

bool Program::load_piece(Slot& slot, std::uint64_t offset, std::uint64_t size) {
  std::array<std::byte, kPageSize> bytes;
  HF_CHECK((offset & (kPageSize - 1)) + size <= kPageSize);
  if (!machine_.load(slot.base + offset, bytes.data(), size)) {
    judge_fatal_access("load", slot.base + offset, name_of(slot, offset));
    return false;
  }
  retries_ = 0;
  if (slot.model->agrees(offset, bytes.data(), size)) return true;
  fail_with("WRONG BYTES: region %td page %llu + %llu, %llu bytes", &slot - slots_.data(),
            static_cast<unsigned long long>(offset >> kPageShift),
            static_cast<unsigned long long>(offset & (kPageSize - 1)),
            static_cast<unsigned long long>(size));
  return true;
}

bool Program::store_piece(Slot& slot, std::uint64_t offset, const std::byte* from,
                          std::uint64_t size) {
  HF_CHECK((offset & (kPageSize - 1)) + size <= kPageSize);
  if (!machine_.store(slot.base + offset, from, size)) {
    judge_fatal_access("store", slot.base + offset, name_of(slot, offset));
    return false;
  }
  retries_ = 0;
  slot.model->store(offset, from, size);
  return true;
}

std::string Program::name_of(const Slot& slot, std::uint64_t offset) const {
  return "region " + std::to_string(&slot - slots_.data()) + " page " +
         std::to_string(offset >> kPageShift);
}

void Program::judge_fatal_access(const char* kind, Address address, const std::string& where) {
  ++probes_.fatal_accesses;
  const auto told = told_.find(address & ~(kPageSize - 1));
  if (told == told_.end()) {
    return fail_with("a %s is fatal in %s, and the error handler was not told", kind,
                     where.c_str());
  }
  const Error& error = told->second;
  log("fatal %s in %s: %s", kind, where.c_str(), name(error.code));
  if (!is_excused(error.code)) {
    fail_with("a %s in %s is fatal for no reason: %s", kind, where.c_str(),
              error.message().c_str());
  }
}

// --- copies ---

void Program::compare_copy(HeldCopy& copy, std::uint64_t page, const std::byte* bytes) {
  if (!copy.model.known(page)) return copy.model.learn(page, bytes);
  if (copy.model.agrees(page << kPageShift, bytes, kPageSize)) return;
  fail_with("WRONG BYTES in a snapshot: page %llu at %p", static_cast<unsigned long long>(page),
            static_cast<const void*>(copy.snapshot.data()));
}

bool Program::load_copy(HeldCopy& copy, std::uint64_t page) {
  std::array<std::byte, kPageSize> bytes;
  const auto base = reinterpret_cast<Address>(copy.snapshot.data());
  if (!machine_.load(base + (page << kPageShift), bytes.data(), kPageSize)) {
    judge_fatal_access("load", base + (page << kPageShift), "a snapshot");
    return false;
  }
  compare_copy(copy, page, bytes.data());
  return true;
}

bool Program::read_copy(HeldCopy& copy, std::uint64_t first, std::uint64_t pages) {
  std::vector<std::byte> bytes(pages * kPageSize);
  if (const auto done = copy.snapshot.read(first << kPageShift, bytes); !done) {
    judge(done.error(), "read snapshot");
    return false;
  }
  for (std::uint64_t i = 0; i < pages; ++i) {
    compare_copy(copy, first + i, bytes.data() + i * kPageSize);
  }
  return true;
}

void Program::check_store_refused(HeldCopy& copy, std::uint64_t page) {
  const auto address = reinterpret_cast<Address>(copy.snapshot.data()) + (page << kPageShift) + 64;
  const std::uint64_t word = 0xbad;
  if (machine_.store(address, &word, sizeof word)) {
    return fail_with("a store to a snapshot went through, page %llu",
                     static_cast<unsigned long long>(page));
  }
}

void Program::release_copy(std::size_t index) {
  std::unique_ptr<HeldCopy> held = std::move(copies_.at(index));
  copies_.erase(copies_.begin() + static_cast<std::ptrdiff_t>(index));
  if (auto done = held->snapshot.drop(); !done) judge(done.error(), "drop snapshot");
}

// A pinned page is resident and stands where it stood; so a load of it does not fault.
void Program::check_pin(const HeldPin& held) {
  for (std::size_t i = 0; i < held.views.size(); ++i) {
    const Address page = held.first + i * kPageSize;
    if (!machine_.is_present(page)) {
      return fail_with("pinned page %zu of %zu at %#llx is not resident", i, held.views.size(),
                       static_cast<unsigned long long>(page));
    }
    if (machine_.view(page) != held.views[i]) {
      return fail_with("pinned page %zu of %zu at %#llx has moved", i, held.views.size(),
                       static_cast<unsigned long long>(page));
    }
  }
}

void Program::check_block(const HeldBlock& held) {
  for (std::uint64_t page = 0; page < 1ULL << held.order; ++page) {
    const std::byte* at = machine_.view(reinterpret_cast<Address>(held.pages) + page * kPageSize);
    for (const std::uint64_t offset : {std::uint64_t{0}, kPageSize - sizeof held.tag}) {
      if (std::memcmp(at + offset, &held.tag, sizeof held.tag) == 0) continue;
      return fail_with("page %llu of block %llu lost its content",
                       static_cast<unsigned long long>(page),
                       static_cast<unsigned long long>(held.tag));
    }
  }
}

// Both take the holding off the list first: an interrupt may come in the middle and release others.
void Program::release_pin(std::size_t index) {
  HeldPin held = std::move(pins_.at(index));
  pins_.erase(pins_.begin() + static_cast<std::ptrdiff_t>(index));
  check_pin(held);
  held_pages_ -= held.views.size();
  held.pin.reset();
}

void Program::release_block(std::size_t index) {
  const HeldBlock held = blocks_.at(index);
  blocks_.erase(blocks_.begin() + static_cast<std::ptrdiff_t>(index));
  check_block(held);
  held_pages_ -= 1ULL << held.order;
  engine_->free_pages(held.pages, held.order);
}

void Program::verify_everything() {
  for (Slot& slot : slots_) {
    if (!slot.model) continue;
    for (std::uint64_t page = 0; page < slot.pages && !failed(); ++page) {
      // Of what was never touched a sample will do.
      if (!slot.model->touched(page) && !random_.chance(1, 16)) continue;
      static_cast<void>(load_piece(slot, page * kPageSize, kPageSize));
    }
  }
  for (const HeldPin& held : pins_) check_pin(held);
  for (const HeldBlock& held : blocks_) check_block(held);
}

void Program::check_quiet(const char* when) {
  if (failed()) return;
  if (!machine_.settle()) return fail_with("the engine's threads do not come to rest %s", when);
  if (!engine_->check_all()) fail_with("check_all() is false %s", when);
}

void Program::check_budget() {
  const Stats stats = engine_->stats();
  const std::uint64_t limit = shape_.engine.memory_budget + stats.overhead_bytes;
  if (machine_.peak_resident_bytes() > limit) {
    fail_with("resident at the peak: %llu bytes, more than budget and overhead, %llu",
              static_cast<unsigned long long>(machine_.peak_resident_bytes()),
              static_cast<unsigned long long>(limit));
  }
}

// What the engine caught by its hashes and mended by asking again is a bug too, unless the device
// was made to lie.
void Program::check_no_corruption() {
  const std::uint64_t mismatches = engine_->stats().hash_mismatches;
  if (mismatches == 0) return;
  if (machine_.failures().injected(sys::FailureKind::file_corrupt) > 0) return;
  fail_with("%llu pages from swap do not have their hash, and no device lied",
            static_cast<unsigned long long>(mismatches));
}

void Program::check_nothing_left() {
  if (machine_.resident_bytes() != 0) {
    fail_with("%llu bytes are resident when the engine is gone",
              static_cast<unsigned long long>(machine_.resident_bytes()));
  }
  for (const auto& [purpose, text] :
       {std::pair{sys::Purpose::region, "region"}, std::pair{sys::Purpose::pool, "pool"},
        std::pair{sys::Purpose::table, "table"}}) {
    if (machine_.reserved_bytes(purpose) == 0) continue;
    fail_with("%llu bytes of %s memory are reserved when the engine is gone",
              static_cast<unsigned long long>(machine_.reserved_bytes(purpose)), text);
  }
}

}  // namespace holdfast::tests
