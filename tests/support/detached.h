// A coroutine that begins at once and ends by itself: what tests of co_await are made of.
#pragma once

#include <coroutine>
#include <exception>

namespace holdfast::tests {

struct Detached {
  struct promise_type {
    Detached get_return_object() noexcept {
      return {std::coroutine_handle<promise_type>::from_promise(*this)};
    }
    std::suspend_never initial_suspend() noexcept { return {}; }
    std::suspend_never final_suspend() noexcept { return {}; }
    void return_void() noexcept {}
    void unhandled_exception() noexcept { std::terminate(); }
  };

  std::coroutine_handle<> handle;  // of use only as long as it is known to wait
};

}  // namespace holdfast::tests
