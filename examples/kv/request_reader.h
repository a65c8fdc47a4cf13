// Requests out of a stream of bytes: RESP2 multibulk ("*2\r\n$3\r\nGET\r\n$1\r\na\r\n") and inline
// ("GET a\r\n", words with optional quotes).
//
// Bytes arrive cut anywhere, and several requests at once (pipelining). The reader keeps what is
// not a whole request yet, and how far it has understood it, so that no byte is parsed twice.
//
//     reader.append(bytes);
//     while (reader.next() == RequestReader::Outcome::request) answer(reader.arguments());
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace kv {

using Arguments = std::span<const std::string_view>;

class RequestReader {
 public:
  enum class Outcome : unsigned char {
    incomplete,  // more bytes are needed
    request,     // arguments() holds one, never empty
    error,       // error() says what is wrong; what follows cannot be understood any more
  };

  void append(std::string_view bytes);
  [[nodiscard]] Outcome next();

  // Of the last request; valid until the next call of append or next.
  [[nodiscard]] Arguments arguments() const { return arguments_; }
  // "Protocol error: ...", on one line.
  [[nodiscard]] const std::string& error() const { return error_; }
  // Bytes that wait for the rest of their request.
  [[nodiscard]] std::size_t buffered() const { return buffer_.size() - start_; }

 private:
  // Arguments as places in the buffer, which moves while a request is incomplete.
  struct Place {
    std::size_t offset;  // from start_
    std::size_t bytes;
  };

  void drop_consumed();
  Outcome read_inline();
  Outcome read_multibulk();
  Outcome read_count();
  Outcome read_bulk();
  // The number that stands between the type's character at position_ and the line's end; moves
  // position_ behind it. `request`: it is in `number`.
  Outcome read_number(const char* what, long long& number);
  Outcome finish();
  Outcome fail(std::string what);

  std::string buffer_;
  std::size_t start_ = 0;     // of the request that is being read
  std::size_t position_ = 0;  // how far it is understood, from start_
  long long wanted_ = -1;     // arguments of the multibulk request; -1: not known yet
  long long bulk_ = -1;       // bytes of the argument that comes; -1: not known yet
  std::vector<Place> places_;
  std::vector<std::string> words_;  // of an inline request
  std::vector<std::string_view> arguments_;
  std::string error_;
};

}  // namespace kv
