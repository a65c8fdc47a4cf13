// The commands: what a request does, and what it answers.
//
// Every request gets exactly one reply. One that fails changes nothing.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <unordered_map>

#include "reply.h"
#include "request_reader.h"
#include "service.h"

namespace kv {

// What the connection does after the reply.
enum class After : unsigned char { go_on, close, shut_down };

struct Request {
  Arguments arguments;  // the command's name first
  Reply& reply;
  Service& service;

  [[nodiscard]] Table& table() const { return service.database.table(); }
};

struct Command {
  std::string_view name;
  int arity;          // arguments with the name; -n: at least n
  bool needs_memory;  // refused with -OOM while there is none
  After (*run)(Request&);
};

[[nodiscard]] std::span<const Command> key_commands();     // keys and values
[[nodiscard]] std::span<const Command> server_commands();  // the connection and the server

// Answers with the error: "OOM ..." for one that is over when something is deleted, else "ERR ...".
void reply_error(Request& request, const holdfast::Error& error);
[[nodiscard]] std::string upper_case(std::string_view text);

class Interpreter {
 public:
  explicit Interpreter(Service& service);
  [[nodiscard]] After execute(Arguments arguments, Reply& reply);

 private:
  After dispatch(Request& request);

  Service& service_;
  std::unordered_map<std::string_view, const Command*> commands_;
};

}  // namespace kv
