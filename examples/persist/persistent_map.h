// A map of strings, of std::vector and pointers, that lives in a file.
//
// It knows of no file: its memory comes from an allocator, its pointers are that allocator's.
#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <string_view>
#include <vector>

#include "file_heap.h"

namespace persist {

template <class T>
using Vector = std::vector<T, FileAllocator<T>>;

class PersistentMap {
 public:
  PersistentMap() : buckets_(16) {}
  PersistentMap(const PersistentMap&) = delete;
  PersistentMap& operator=(const PersistentMap&) = delete;
  ~PersistentMap() = default;  // never: the file keeps it

  void put(std::string_view key, std::string_view value) {
    if (Node* const node = find(key)) {
      node->value.assign(value.begin(), value.end());
      return;
    }
    if (count_ >= buckets_.size()) spread(buckets_.size() * 2);
    Link& first = bucket_of(key);
    FileAllocator<Node> allocator;
    const Link node = allocator.allocate(1);
    new (node.get()) Node{first, Text(key.begin(), key.end()), Text(value.begin(), value.end())};
    first = node;
    ++count_;
  }
  // False: it is not there.
  [[nodiscard]] bool get(std::string_view key, std::string_view& value) const {
    const Node* const node = find(key);
    if (node != nullptr) value = view(node->value);
    return node != nullptr;
  }
  bool erase(std::string_view key) {
    for (Link* link = &bucket_of(key); *link; link = &(*link)->next) {
      if (view((*link)->key) != key) continue;
      const Link gone = *link;
      *link = gone->next;
      gone->~Node();
      FileAllocator<Node>().deallocate(gone, 1);
      --count_;
      return true;
    }
    return false;
  }
  [[nodiscard]] std::uint64_t size() const { return count_; }

  template <class Visit>
  void each(Visit visit) const {
    for (const Link& first : buckets_) {
      for (const Node* node = first.get(); node != nullptr; node = node->next.get()) {
        visit(view(node->key), view(node->value));
      }
    }
  }
  // True if each entry is where it is looked for, and as many are there as were counted.
  [[nodiscard]] bool is_sound() const {
    std::uint64_t found = 0;
    each([&](std::string_view key, std::string_view value) {
      std::string_view again;
      found += get(key, again) && again == value ? 1 : 0;
    });
    return found == count_;
  }

 private:
  using Text = Vector<char>;
  struct Node;
  using Link = OffsetPointer<Node>;
  struct Node {
    Link next;
    Text key;
    Text value;
  };

  static std::string_view view(const Text& text) { return {text.data(), text.size()}; }
  static std::size_t hash(std::string_view key) {  // the same in every build: FNV-1a
    std::uint64_t h = 0xcbf29ce484222325;
    for (const char c : key) h = (h ^ static_cast<unsigned char>(c)) * 0x100000001b3;
    return h;
  }
  Link& bucket_of(std::string_view key) { return buckets_[hash(key) % buckets_.size()]; }
  Node* find(std::string_view key) {
    return const_cast<Node*>(static_cast<const PersistentMap*>(this)->find(key));
  }
  [[nodiscard]] const Node* find(std::string_view key) const {
    const Node* node = buckets_[hash(key) % buckets_.size()].get();
    while (node != nullptr && view(node->key) != key) node = node->next.get();
    return node;
  }
  void spread(std::size_t count) {
    Vector<Link> old(count);
    std::swap(old, buckets_);
    for (Link& first : old) {
      for (Link node = first; node;) {
        const Link next = node->next;
        Link& place = bucket_of(view(node->key));
        node->next = place;
        place = node;
        node = next;
      }
    }
  }

  Vector<Link> buckets_;
  std::uint64_t count_ = 0;
};

}  // namespace persist
