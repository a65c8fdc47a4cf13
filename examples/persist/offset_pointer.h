// A pointer that says how far away its target is, and so holds wherever its file is mapped.
//
// What it is for: pointers that stand in a mapped file beside what they point to. As containers
// take it for a pointer (std::vector does), it has all that they ask of one.
//
// A pointer outside of the mapping (a local copy) works too. Copying makes the distance anew;
// memcpy does not, so nothing that has one may be moved bytewise.
#pragma once

#include <compare>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <memory>
#include <type_traits>

namespace persist {

template <class T>
class OffsetPointer {
 public:
  using element_type = T;
  using value_type = std::remove_cv_t<T>;
  using difference_type = std::ptrdiff_t;
  using pointer = OffsetPointer;
  using reference = std::add_lvalue_reference_t<T>;
  using iterator_category = std::random_access_iterator_tag;
  template <class U>
  using rebind = OffsetPointer<U>;

  OffsetPointer() noexcept = default;
  OffsetPointer(std::nullptr_t) noexcept {}
  explicit OffsetPointer(T* target) noexcept { set(target); }
  OffsetPointer(const OffsetPointer& other) noexcept { set(other.get()); }
  template <class U>
    requires std::is_convertible_v<U*, T*>
  OffsetPointer(const OffsetPointer<U>& other) noexcept {
    set(other.get());
  }
  OffsetPointer& operator=(const OffsetPointer& other) noexcept {
    set(other.get());
    return *this;
  }
  ~OffsetPointer() = default;

  [[nodiscard]] T* get() const noexcept {
    if (distance_ == 0) return nullptr;
    return reinterpret_cast<T*>(reinterpret_cast<std::intptr_t>(this) + distance_);
  }
  T* operator->() const noexcept { return get(); }
  reference operator*() const noexcept { return *get(); }
  reference operator[](difference_type i) const noexcept { return get()[i]; }
  explicit operator bool() const noexcept { return distance_ != 0; }
  template <class U = T>
  [[nodiscard]] static OffsetPointer pointer_to(U& target) noexcept {
    return OffsetPointer(std::addressof(target));
  }

  OffsetPointer& operator+=(difference_type n) noexcept {
    set(get() + n);
    return *this;
  }
  OffsetPointer& operator-=(difference_type n) noexcept { return *this += -n; }
  OffsetPointer& operator++() noexcept { return *this += 1; }
  OffsetPointer& operator--() noexcept { return *this += -1; }
  OffsetPointer operator++(int) noexcept {
    OffsetPointer before(*this);
    ++*this;
    return before;
  }
  OffsetPointer operator--(int) noexcept {
    OffsetPointer before(*this);
    --*this;
    return before;
  }
  friend OffsetPointer operator+(OffsetPointer p, difference_type n) noexcept { return p += n; }
  friend OffsetPointer operator-(OffsetPointer p, difference_type n) noexcept { return p -= n; }
  friend difference_type operator-(const OffsetPointer& a, const OffsetPointer& b) noexcept {
    return a.get() - b.get();
  }
  friend bool operator==(const OffsetPointer& a, const OffsetPointer& b) noexcept {
    return a.get() == b.get();
  }
  friend auto operator<=>(const OffsetPointer& a, const OffsetPointer& b) noexcept {
    return a.get() <=> b.get();
  }

 private:
  void set(T* target) noexcept {
    distance_ = target == nullptr ? 0
                                  : reinterpret_cast<std::intptr_t>(target) -
                                        reinterpret_cast<std::intptr_t>(this);
  }

  std::intptr_t distance_ = 0;  // bytes from here; 0: null, as nothing points to itself
};

}  // namespace persist
