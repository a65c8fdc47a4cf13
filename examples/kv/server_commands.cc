// Commands on the connection and the server.
#include <unistd.h>

#include <array>
#include <vector>

#include "commands.h"
#include "pattern.h"

namespace kv {
namespace {

After ping(Request& request) {
  if (request.arguments.size() > 2) {
    request.reply.error("ERR wrong number of arguments for 'PING' command");
  } else if (request.arguments.size() == 2) {
    request.reply.bulk(request.arguments[1]);
  } else {
    request.reply.simple("PONG");
  }
  return After::go_on;
}

After echo(Request& request) {
  request.reply.bulk(request.arguments[1]);
  return After::go_on;
}

After select(Request& request) {
  if (request.arguments[1] == "0") {
    request.reply.ok();
  } else {
    request.reply.error("ERR DB index is out of range: there is database 0 only");
  }
  return After::go_on;
}

After quit(Request& request) {
  request.reply.ok();
  return After::close;
}

// What redis-cli and redis-benchmark ask.
using Parameters = std::vector<std::pair<std::string_view, std::string>>;

Parameters parameters_of(const Service& service) {
  return {{"appendonly", "no"},
          {"databases", "1"},
          {"dbfilename", "kv.image"},
          {"dir", service.settings.directory},
          {"maxmemory", std::to_string(service.settings.memory)},
          {"maxmemory-policy", "noeviction"},
          {"port", std::to_string(service.settings.port)},
          {"save", ""},
          {"unixsocket", service.settings.unix_socket}};
}

After config(Request& request) {
  if (upper_case(request.arguments[1].substr(0, 8)) != "GET" || request.arguments.size() < 3) {
    request.reply.error("ERR CONFIG GET pattern is all there is: settings are given at the start");
    return After::go_on;
  }
  Parameters found = parameters_of(request.service);
  std::erase_if(found, [&](const auto& parameter) {
    for (const auto pattern : request.arguments.subspan(2)) {
      if (glob_match(pattern, parameter.first)) return false;
    }
    return true;
  });
  request.reply.array(2 * found.size());
  for (const auto& [name, value] : found) {
    request.reply.bulk(name);
    request.reply.bulk(value);
  }
  return After::go_on;
}

After command(Request& request) {
  const std::string what = request.arguments.size() > 1 ? upper_case(request.arguments[1]) : "";
  const std::array groups = {key_commands(), server_commands()};
  const std::size_t count = groups[0].size() + groups[1].size();
  if (what == "COUNT") {
    request.reply.integer(static_cast<std::int64_t>(count));
    return After::go_on;
  }
  if (!what.empty()) {  // DOCS and the like: known, and nothing to say
    request.reply.array(0);
    return After::go_on;
  }
  request.reply.array(count);
  for (const auto group : groups) {
    for (const Command& each : group) {
      request.reply.array(2);
      request.reply.bulk(each.name);
      request.reply.integer(each.arity);
    }
  }
  return After::go_on;
}

class InfoText {
 public:
  explicit InfoText(std::string wanted) : wanted_(std::move(wanted)) {}

  // True if the section is shown.
  bool section(const std::string& name) {
    shown_ = wanted_.empty() || wanted_ == upper_case(name);
    if (shown_) text_ += (text_.empty() ? "# " : "\r\n# ") + name + "\r\n";
    return shown_;
  }
  void line(const char* name, const std::string& value) {
    if (shown_) text_ += std::string(name) + ":" + value + "\r\n";
  }
  void line(const char* name, std::uint64_t value) { line(name, std::to_string(value)); }
  [[nodiscard]] const std::string& text() const { return text_; }

 private:
  std::string wanted_;  // a section, in upper case; empty: all
  std::string text_;
  bool shown_ = false;
};

void describe_server(InfoText& info, const Service& service) {
  info.section("Server");
  info.line("redis_version", "7.0.0");  // whose protocol this is; some clients insist on a number
  info.line("server_name", "holdfast-kv");
  info.line("process_id", static_cast<std::uint64_t>(getpid()));
  info.line("tcp_port", service.settings.port);
  info.line("uptime_in_seconds",
            static_cast<std::uint64_t>(std::time(nullptr) - service.counters.started));
  info.section("Clients");
  info.line("connected_clients", service.counters.clients);
  info.section("Stats");
  info.line("total_connections_received", service.counters.connections);
  info.line("rejected_connections", service.counters.rejected);
  info.line("total_commands_processed", service.counters.commands);
}

void describe_memory(InfoText& info, const Service& service) {
  info.section("Memory");
  info.line("used_memory", service.database.heap().live());
  info.line("used_memory_touched", service.database.heap().top());
  info.line("maxmemory", service.settings.memory);
  if (!info.section("Holdfast")) return;
  const holdfast::Stats stats = service.engine.stats();
  info.line("engine", service.engine.description());
  info.line("pages_resident", stats.pages_resident);
  info.line("pages_cached", stats.pages_cached);
  info.line("slots_used", stats.slots_used);
  info.line("faults", stats.faults);
  info.line("pages_evicted_written", stats.evicted_written);
  info.line("compressed_bytes", stats.compressed_bytes);
}

void describe_persistence(InfoText& info, const Persistence& persistence) {
  if (!info.section("Persistence")) return;
  info.line("loading", "0");
  info.line("rdb_bgsave_in_progress", persistence.is_saving() ? "1" : "0");
  info.line("rdb_last_save_time", static_cast<std::uint64_t>(persistence.last_save()));
  info.line("rdb_last_bgsave_status", persistence.last_was_good() ? "ok" : "err");
  info.line("rdb_last_bgsave_time_sec", static_cast<std::uint64_t>(persistence.last_duration()));
}

After info(Request& request) {
  std::string wanted = request.arguments.size() > 1 ? upper_case(request.arguments[1]) : "";
  if (wanted == "ALL" || wanted == "DEFAULT" || wanted == "EVERYTHING") wanted.clear();
  InfoText text(std::move(wanted));
  Service& service = request.service;
  describe_server(text, service);
  describe_memory(text, service);
  describe_persistence(text, service.persistence);
  text.section("Keyspace");
  if (const auto keys = request.table().count(); keys != 0) {
    text.line("db0", "keys=" + std::to_string(keys) + ",expires=0,avg_ttl=0");
  }
  request.reply.bulk(text.text());
  return After::go_on;
}

After bgsave(Request& request) {
  Service& service = request.service;
  const auto begun = service.persistence.begin(service.database.region());
  if (begun) {
    request.reply.simple("Background saving started");
  } else {
    reply_error(request, begun.error());
  }
  return After::go_on;
}

After save(Request& request) {
  Service& service = request.service;
  if (service.persistence.is_saving()) {
    request.reply.error("ERR Background save already in progress");
  } else if (const auto saved = service.persistence.save(service.database.region()); !saved) {
    reply_error(request, saved.error());
  } else {
    request.reply.ok();
  }
  return After::go_on;
}

After lastsave(Request& request) {
  request.reply.integer(request.service.persistence.last_save());
  return After::go_on;
}

// Saves first, where there is a place for it and nobody says NOSAVE; does not end if that fails.
After shutdown(Request& request) {
  const std::string how = request.arguments.size() > 1 ? upper_case(request.arguments[1]) : "";
  if (request.arguments.size() > 2 || (!how.empty() && how != "SAVE" && how != "NOSAVE")) {
    request.reply.error("ERR syntax error");
    return After::go_on;
  }
  Service& service = request.service;
  if (how == "NOSAVE" || (how.empty() && !service.persistence.is_enabled())) {
    return After::shut_down;
  }
  const auto saved = service.persistence.save(service.database.region());
  if (saved) return After::shut_down;
  reply_error(request, saved.error());
  return After::go_on;
}

constexpr std::array kCommands = {
    Command{"PING", -1, false, ping},        Command{"ECHO", 2, false, echo},
    Command{"SELECT", 2, false, select},     Command{"QUIT", -1, false, quit},
    Command{"CONFIG", -2, false, config},    Command{"COMMAND", -1, false, command},
    Command{"INFO", -1, false, info},        Command{"SHUTDOWN", -1, false, shutdown},
    Command{"SAVE", 1, false, save},         Command{"BGSAVE", -1, false, bgsave},
    Command{"LASTSAVE", 1, false, lastsave},
};

}  // namespace

std::span<const Command> server_commands() { return kCommands; }

}  // namespace kv
