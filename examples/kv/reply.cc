#include "reply.h"

#include <algorithm>

#include "bounds.h"

namespace kv {
namespace {
constexpr std::size_t kKeepBuffer = 256 << 10;
}

void Reply::begin() {
  begun_ = output_.size();
  too_large_ = false;
}

void Reply::end() {
  if (!too_large_) return;
  output_.resize(begun_);
  too_large_ = false;
  error("ERR the reply would be larger than " + std::to_string(kReplyMost) + " bytes");
}

void Reply::simple(std::string_view text) { line('+', text); }
void Reply::integer(std::int64_t value) { line(':', std::to_string(value)); }
void Reply::null() { append("$-1\r\n"); }
void Reply::array(std::size_t elements) { line('*', std::to_string(elements)); }

// An error is one line, whatever the client's own bytes that it quotes.
void Reply::error(std::string_view code_and_text) {
  std::string text(code_and_text);
  std::ranges::replace_if(text, [](char c) { return c == '\r' || c == '\n'; }, ' ');
  line('-', text);
}

void Reply::bulk(std::string_view bytes) {
  line('$', std::to_string(bytes.size()));
  append(bytes);
  append("\r\n");
}

void Reply::line(char type, std::string_view text) {
  append(std::string_view(&type, 1));
  append(text);
  append("\r\n");
}

void Reply::append(std::string_view bytes) {
  too_large_ = too_large_ || output_.size() - begun_ + bytes.size() > kReplyMost;
  if (!too_large_) output_.append(bytes);
}

void Reply::sent(std::size_t bytes) {
  sent_ += bytes;
  if (sent_ < output_.size() && sent_ < kKeepBuffer) return;
  output_.erase(0, sent_);
  sent_ = 0;
  if (output_.capacity() > kKeepBuffer && output_.size() < kKeepBuffer / 2) {
    output_.shrink_to_fit();
  }
}

}  // namespace kv
