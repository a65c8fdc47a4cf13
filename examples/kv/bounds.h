// What a client may ask for. Whatever a request would break is named in the error that it gets.
#pragma once

#include <cstddef>
#include <cstdint>

namespace kv {

inline constexpr std::size_t kInlineMost = 64 << 10;     // bytes of an inline request
inline constexpr std::size_t kArgumentsMost = 64 << 10;  // arguments of a request
inline constexpr std::size_t kBulkMost = 16 << 20;       // bytes of one argument, of one value
inline constexpr std::size_t kRequestMost = 64 << 20;    // bytes of a whole request
inline constexpr std::size_t kReplyMost = 64 << 20;      // bytes of the reply to one request
// A client that does not read its replies is not read from while more than this waits for it.
inline constexpr std::size_t kOutputHigh = 1 << 20;
inline constexpr std::size_t kReadAtOnce = 64 << 10;  // bytes read from a client in its turn
inline constexpr std::size_t kClientsMost = 1000;

}  // namespace kv
