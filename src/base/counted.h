// Objects that several own: each by a counted reference, and the last one frees the object.
//
//     class Thing final : public base::Counted { ... };
//     base::CountedRef<Thing> mine(new Thing);      // the first one takes it over from `new`
//
// Thread-safety: references may be taken and put by any thread; one reference is its owner's alone.
// Taking one is async-signal-safe; putting it may free the object: task context.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <utility>

namespace holdfast::base {

template <class T>
class CountedRef;

class Counted {
 public:
  Counted() noexcept = default;
  Counted(const Counted&) = delete;
  Counted& operator=(const Counted&) = delete;

 protected:
  ~Counted() = default;

 private:
  template <class T>
  friend class CountedRef;
  std::atomic<std::uint32_t> references_{0};
};

// One counted reference. T may be incomplete where none is taken or put.
template <class T>
class CountedRef {
 public:
  CountedRef() noexcept = default;
  // Takes a reference of its own.
  explicit CountedRef(T* object) noexcept : object_(object) {
    if (object_ != nullptr) count(object_).fetch_add(1, std::memory_order_relaxed);
  }
  CountedRef(const CountedRef& other) noexcept : CountedRef(other.object_) {}
  CountedRef(CountedRef&& other) noexcept : object_(std::exchange(other.object_, nullptr)) {}
  CountedRef& operator=(CountedRef other) noexcept {
    std::swap(object_, other.object_);
    return *this;
  }
  ~CountedRef() { reset(); }

  // Puts the reference.
  void reset() noexcept {
    T* const object = std::exchange(object_, nullptr);
    if (object == nullptr) return;
    if (count(object).fetch_sub(1, std::memory_order_acq_rel) == 1) delete object;
  }
  [[nodiscard]] T* get() const noexcept { return object_; }
  [[nodiscard]] T* operator->() const noexcept { return object_; }
  [[nodiscard]] T& operator*() const noexcept { return *object_; }
  [[nodiscard]] explicit operator bool() const noexcept { return object_ != nullptr; }
  friend bool operator==(const CountedRef& a, const CountedRef& b) noexcept {
    return a.object_ == b.object_;
  }
  friend bool operator==(const CountedRef& a, std::nullptr_t) noexcept {
    return a.object_ == nullptr;
  }

 private:
  static std::atomic<std::uint32_t>& count(T* object) noexcept {
    return static_cast<Counted*>(object)->references_;
  }

  T* object_ = nullptr;
};

}  // namespace holdfast::base
