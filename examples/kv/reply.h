// Replies, as RESP2 writes them, collected until the socket takes them.
//
// What waits for one client is bounded: the reply to one request by kReplyMost (what exceeds it is
// replaced by an error that says so), and the connection reads no further requests while more than
// kOutputHigh waits.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace kv {

class Reply {
 public:
  // Brackets the reply to one request.
  void begin();
  void end();
  // True once the reply to this request is too large: whatever follows is dropped, and a loop over
  // many keys may stop.
  [[nodiscard]] bool too_large() const { return too_large_; }

  void ok() { simple("OK"); }
  void simple(std::string_view text);
  // code_and_text: "ERR ...", "OOM ...".
  void error(std::string_view code_and_text);
  void integer(std::int64_t value);
  // bytes may be managed memory: they are copied.
  void bulk(std::string_view bytes);
  void null();  // a bulk that is not there
  void array(std::size_t elements);
  // What `written` tells of is known only afterwards: append it as one element.
  void raw(std::string_view written) { append(written); }

  [[nodiscard]] std::string_view pending() const { return std::string_view(output_).substr(sent_); }
  void sent(std::size_t bytes);

 private:
  void append(std::string_view bytes);
  void line(char type, std::string_view text);

  std::string output_;
  std::size_t sent_ = 0;   // bytes of it that the socket has taken
  std::size_t begun_ = 0;  // where the reply to this request begins
  bool too_large_ = false;
};

}  // namespace kv
