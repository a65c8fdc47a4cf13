// How a full buffer is emptied: what is still in it is hashed, and stored where it has changed.
//
// The lock is held to pick pages and to commit them, not while they are compressed: a fault is
// served out of the buffer meanwhile, and whoever was faster wins.
#include <algorithm>
#include <array>
#include <cerrno>

#include "run/client.h"

namespace holdfast::run {

struct Client::Batch {
  static constexpr std::uint32_t kPages =
      64;  // one write of a device; a fault waits for none of it
  struct Item {
    std::uint32_t place = 0;
    SlotIndex old;  // may hold the same content; its count is the buffer's
    Entry entry;    // what the page becomes; none: it could not be stored
    bool is_clean = false;
    std::uint32_t store = 0;
  };
  std::uint32_t count = 0;
  std::array<Item, kPages> items;
  std::uint32_t stores = 0;
  std::array<swap::StoreItem, kPages> store;
  EvictionBuffer* buffer = nullptr;
};

bool Client::pick(EvictionBuffer& buffer, std::uint32_t& next, Batch& batch) {
  const std::lock_guard lock(mutex_);
  batch.count = 0;
  batch.stores = 0;
  batch.buffer = &buffer;
  for (; next < kWindowPages && batch.count < Batch::kPages; ++next) {
    if (buffer.pages[next] == EvictionBuffer::kNoPage) continue;
    Batch::Item& item = batch.items[batch.count++];
    item = {.place = next, .old = buffer.slots[next], .entry = {}, .is_clean = false, .store = 0};
    // Kept alive for the comparison, whatever happens to the page.
    if (!item.old.is_none()) parts_.swap.get(item.old);
  }
  return batch.count > 0;
}

void Client::store(Batch& batch) {
  for (std::uint32_t i = 0; i < batch.count; ++i) {
    Batch::Item& item = batch.items[i];
    const std::byte* const content = batch.buffer->content(item.place);
    if (const auto word = base::repeated_word(content)) {
      if (const auto packed = base::pack_word(*word)) {
        item.entry = Entry::filled(*packed);
        continue;
      }
    }
    const base::Hash128 hash = base::hash_page(content);
    if (!item.old.is_none() && parts_.swap.hash_of(item.old) == hash) {
      item.is_clean = true;
      item.entry = Entry::swapped(item.old);
      continue;
    }
    item.store = batch.stores;
    batch.store[batch.stores++] = {.page = content, .hash = hash};
    item.entry = Entry::doomed();  // stands for: see what the store has done
  }
  if (batch.stores == 0) return;
  parts_.swap.store(std::span(batch.store).first(batch.stores), page::Priority::reclaim);
  for (std::uint32_t i = 0; i < batch.count; ++i) {
    Batch::Item& item = batch.items[i];
    if (!(item.entry == Entry::doomed())) continue;
    const SlotIndex slot = batch.store[item.store].slot;
    item.entry = slot.is_none() ? Entry() : Entry::swapped(slot);
  }
}

Client::Stored Client::commit(EvictionBuffer& buffer, Batch& batch) {
  const std::lock_guard lock(mutex_);
  Stored all = Stored::all;
  for (std::uint32_t i = 0; i < batch.count; ++i) {
    const Batch::Item& item = batch.items[i];
    const std::uint64_t page = buffer.pages[item.place];
    const bool is_here = page != EvictionBuffer::kNoPage;
    if (is_here && item.entry == Entry()) {
      all = std::max(all, put_back(buffer, item.place) ? Stored::returned : Stored::some_left);
    } else if (is_here) {
      drop_slot(buffer.slots[item.place]);
      buffer.slots[item.place] = SlotIndex();
      buffer.pages[item.place] = EvictionBuffer::kNoPage;
      table_.set(page, item.entry);
      Counters::add(item.is_clean                              ? parts_.counters.clean
                    : item.entry.state() == EntryState::filled ? parts_.counters.filled
                                                               : parts_.counters.stored);
      if (item.is_clean) continue;  // the count that pick() took is the entry's now
    } else if (item.entry.has_slot() && !item.is_clean) {
      drop_slot(item.entry.slot());
    }
    drop_slot(item.old);
  }
  return all;
}

// No tier takes it: it goes back to where it was. False: it cannot just now.
bool Client::put_back(EvictionBuffer& buffer, std::uint32_t place) {
  const std::uint64_t page = buffer.pages[place];
  const Entered in = memory_.copy(page << kPageShift, buffer.content(place), kPageSize);
  if (in.bytes == 0 && in.error != ESRCH) return false;
  parts_.budget.take_regardless(1);
  Counters::add(parts_.counters.returned);
  entered(page, false);
  queue_window(page / kWindowPages);
  return true;
}

Client::Stored Client::store_buffer(EvictionBuffer& buffer) {
  Batch batch;
  std::uint32_t next = 0;
  Stored all = Stored::all;
  while (pick(buffer, next, batch)) {
    store(batch);
    all = std::max(all, commit(buffer, batch));
  }
  if (all == Stored::some_left) return all;
  const std::lock_guard lock(mutex_);
  buffer.release();
  return all;
}

}  // namespace holdfast::run
