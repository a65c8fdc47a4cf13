#include "request_reader.h"

#include <charconv>
#include <cstring>

#include "bounds.h"
#include "inline_words.h"

namespace kv {
namespace {

constexpr std::size_t kNumberLineMost = 32;  // "$-9223372036854775808\r\n" is 23 bytes
constexpr std::size_t kKeepBuffer = 256 << 10;

std::string printable(char c) {
  if (c >= ' ' && c <= '~') return std::string("'") + c + "'";
  return "byte " + std::to_string(static_cast<unsigned char>(c));
}

}  // namespace

void RequestReader::append(std::string_view bytes) {
  drop_consumed();
  buffer_.append(bytes);
}

// Keeps what is not consumed at the buffer's front; gives back what a large request had taken.
void RequestReader::drop_consumed() {
  if (start_ == 0) return;
  buffer_.erase(0, start_);
  start_ = 0;
  if (buffer_.capacity() > kKeepBuffer && buffer_.size() < kKeepBuffer / 2) {
    buffer_.shrink_to_fit();
  }
}

RequestReader::Outcome RequestReader::next() {
  if (!error_.empty()) return Outcome::error;
  for (;;) {
    if (buffered() == 0) return Outcome::incomplete;
    const bool multibulk = buffer_[start_] == '*';
    const Outcome outcome = multibulk ? read_multibulk() : read_inline();
    if (outcome != Outcome::request || !arguments_.empty()) return outcome;
    // An empty line, "*0", "*-1": no request, as in Redis.
  }
}

RequestReader::Outcome RequestReader::read_inline() {
  const std::size_t end = buffer_.find('\n', start_ + position_);
  if (end == std::string::npos) {
    position_ = buffered();
    if (buffered() <= kInlineMost) return Outcome::incomplete;
  }
  if (end == std::string::npos || end - start_ > kInlineMost) {
    return fail("an inline request of more than " + std::to_string(kInlineMost) + " bytes");
  }
  if (!split_words(std::string_view(buffer_).substr(start_, end - start_), words_)) {
    return fail("unbalanced quotes in request");
  }
  arguments_.assign(words_.begin(), words_.end());
  position_ = end + 1 - start_;
  return finish();
}

RequestReader::Outcome RequestReader::read_multibulk() {
  if (wanted_ < 0) {
    const Outcome outcome = read_count();
    if (outcome != Outcome::request) return outcome;
  }
  while (places_.size() < static_cast<std::size_t>(wanted_)) {
    const Outcome outcome = read_bulk();
    if (outcome != Outcome::request) return outcome;
  }
  arguments_.clear();
  for (const Place& place : places_) {
    arguments_.emplace_back(buffer_.data() + start_ + place.offset, place.bytes);
  }
  return finish();
}

RequestReader::Outcome RequestReader::read_count() {
  long long count = 0;
  const Outcome outcome = read_number("multibulk count", count);
  if (outcome != Outcome::request) return outcome;
  if (count > static_cast<long long>(kArgumentsMost)) {
    return fail("a request of " + std::to_string(count) + " arguments: the limit is " +
                std::to_string(kArgumentsMost));
  }
  wanted_ = count < 0 ? 0 : count;
  return Outcome::request;
}

RequestReader::Outcome RequestReader::read_bulk() {
  if (bulk_ < 0) {
    if (position_ == buffered()) return Outcome::incomplete;
    const char type = buffer_[start_ + position_];
    if (type != '$') return fail("expected '$', got " + printable(type));
    long long bytes = 0;
    const Outcome outcome = read_number("bulk length", bytes);
    if (outcome != Outcome::request) return outcome;
    if (bytes < 0) return fail("invalid bulk length");
    if (bytes > static_cast<long long>(kBulkMost)) {
      return fail("a bulk of " + std::to_string(bytes) + " bytes: the limit is " +
                  std::to_string(kBulkMost));
    }
    if (position_ + static_cast<std::size_t>(bytes) > kRequestMost) {
      return fail("a request of more than " + std::to_string(kRequestMost) + " bytes");
    }
    bulk_ = bytes;
  }
  const auto bytes = static_cast<std::size_t>(bulk_);
  if (buffered() < position_ + bytes + 2) return Outcome::incomplete;
  const char* const data = buffer_.data() + start_ + position_;
  if (data[bytes] != '\r' || data[bytes + 1] != '\n') {
    return fail("a bulk that does not end after its " + std::to_string(bytes) + " bytes");
  }
  places_.push_back({position_, bytes});
  position_ += bytes + 2;
  bulk_ = -1;
  return Outcome::request;
}

RequestReader::Outcome RequestReader::read_number(const char* what, long long& number) {
  const char* const line = buffer_.data() + start_ + position_;
  const std::size_t rest = buffered() - position_;
  const auto* const end = static_cast<const char*>(std::memchr(line, '\n', rest));
  if (end == nullptr && rest < kNumberLineMost) return Outcome::incomplete;
  if (end == nullptr || end - line < 2 || end[-1] != '\r') {
    return fail(std::string("invalid ") + what);
  }
  const auto [stop, code] = std::from_chars(line + 1, end - 1, number);
  if (code != std::errc() || stop != end - 1) return fail(std::string("invalid ") + what);
  position_ += static_cast<std::size_t>(end + 1 - line);
  return Outcome::request;
}

// The request is whole: the next one begins behind it.
RequestReader::Outcome RequestReader::finish() {
  start_ += position_;
  position_ = 0;
  wanted_ = -1;
  bulk_ = -1;
  places_.clear();
  return Outcome::request;
}

RequestReader::Outcome RequestReader::fail(std::string what) {
  error_ = "Protocol error: " + std::move(what);
  arguments_.clear();
  return Outcome::error;
}

}  // namespace kv
