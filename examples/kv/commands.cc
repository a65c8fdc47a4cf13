#include "commands.h"

#include <algorithm>
#include <cctype>

namespace kv {
namespace {

constexpr std::size_t kQuoted = 64;  // bytes of a client's word that an error repeats

bool arity_fits(int arity, std::size_t count) {
  const auto wanted = static_cast<std::size_t>(arity < 0 ? -arity : arity);
  return arity < 0 ? count >= wanted : count == wanted;
}

}  // namespace

std::string upper_case(std::string_view text) {
  std::string upper(text);
  std::ranges::transform(upper, upper.begin(),
                         [](unsigned char c) { return static_cast<char>(std::toupper(c)); });
  return upper;
}

void reply_error(Request& request, const holdfast::Error& error) {
  using holdfast::Errc;
  const bool full = error.code == Errc::out_of_memory || error.code == Errc::swap_full ||
                    error.code == Errc::pins_exceeded;
  // The engine had no room for this value: whoever only reads needs some nevertheless.
  if (full) request.service.reserve.give();
  const bool memory = full || error.code == Errc::budget_exceeded;
  request.reply.error((memory ? "OOM " : "ERR ") + error.message());
}

Interpreter::Interpreter(Service& service) : service_(service) {
  for (const auto commands : {key_commands(), server_commands()}) {
    for (const Command& command : commands) commands_.emplace(command.name, &command);
  }
}

After Interpreter::execute(Arguments arguments, Reply& reply) {
  ++service_.counters.commands;
  reply.begin();
  Request request{arguments, reply, service_};
  const After after = dispatch(request);
  reply.end();
  return after;
}

After Interpreter::dispatch(Request& request) {
  const std::string_view name = request.arguments[0];
  const auto found = name.size() > kQuoted ? commands_.end() : commands_.find(upper_case(name));
  if (found == commands_.end()) {
    request.reply.error("ERR unknown command '" + std::string(name.substr(0, kQuoted)) + "'");
    return After::go_on;
  }
  const Command& command = *found->second;
  if (!arity_fits(command.arity, request.arguments.size())) {
    request.reply.error("ERR wrong number of arguments for '" + std::string(command.name) +
                        "' command");
    return After::go_on;
  }
  if (command.needs_memory && request.service.reserve.is_spent()) {
    request.reply.error("OOM memory and swap are full: delete keys, or give more of either");
    return After::go_on;
  }
  return command.run(request);
}

}  // namespace kv
