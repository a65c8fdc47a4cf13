// Commands on keys and values.
#include <array>
#include <charconv>
#include <limits>
#include <optional>
#include <vector>

#include "bounds.h"
#include "commands.h"
#include "pattern.h"

namespace kv {
namespace {

using holdfast::Expected;

// Answers with the error, if there is one; true if there was none.
template <class T>
bool succeeded(Request& request, const Expected<T>& result) {
  if (result) return true;
  reply_error(request, result.error());
  return false;
}

std::optional<std::int64_t> to_integer(std::string_view text) {
  std::int64_t value = 0;
  const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (text.empty() || code != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

constexpr std::string_view kNotAnInteger = "ERR value is not an integer or out of range";

void reply_value(Request& request, std::string_view key) {
  if (const auto value = request.table().get(key)) {
    request.reply.bulk(*value);
  } else {
    request.reply.null();
  }
}

After get(Request& request) {
  reply_value(request, request.arguments[1]);
  return After::go_on;
}

After mget(Request& request) {
  request.reply.array(request.arguments.size() - 1);
  for (const auto key : request.arguments.subspan(1)) {
    if (request.reply.too_large()) break;
    reply_value(request, key);
  }
  return After::go_on;
}

struct SetOptions {
  bool if_missing = false;  // NX
  bool if_there = false;    // XX
  bool get = false;         // GET: the reply is the value from before
};

// Nothing: it has answered with an error.
std::optional<SetOptions> read_set_options(Request& request) {
  SetOptions options;
  for (const auto argument : request.arguments.subspan(3)) {
    const std::string name = upper_case(argument.substr(0, 8));
    if (name == "NX") {
      options.if_missing = true;
    } else if (name == "XX") {
      options.if_there = true;
    } else if (name == "GET") {
      options.get = true;
    } else if (name == "EX" || name == "PX" || name == "EXAT" || name == "PXAT" ||
               name == "KEEPTTL") {
      request.reply.error("ERR " + name + " is not supported: keys do not expire here");
      return std::nullopt;
    } else {
      request.reply.error("ERR syntax error");
      return std::nullopt;
    }
  }
  if (options.if_missing && options.if_there) {
    request.reply.error("ERR syntax error");
    return std::nullopt;
  }
  return options;
}

After set(Request& request) {
  const auto options = read_set_options(request);
  if (!options) return After::go_on;
  const std::string_view key = request.arguments[1];
  std::optional<std::string> old;  // in ordinary memory: the value may be overwritten in its place
  bool is_there = false;
  if (options->get || options->if_missing || options->if_there) {
    const auto value = request.table().get(key);
    is_there = value.has_value();
    if (value && options->get) old.emplace(*value);
  }
  const bool wanted = is_there ? !options->if_missing : !options->if_there;
  if (wanted && !succeeded(request, request.table().set(key, request.arguments[2]))) {
    return After::go_on;
  }
  if (old) {
    request.reply.bulk(*old);
  } else if (options->get || !wanted) {
    request.reply.null();
  } else {
    request.reply.ok();
  }
  return After::go_on;
}

// All keys or none: every value is stored before the first key refers to its new one.
After mset(Request& request) {
  const Arguments pairs = request.arguments.subspan(1);
  if (pairs.size() % 2 != 0) {
    request.reply.error("ERR wrong number of arguments for 'MSET' command");
    return After::go_on;
  }
  std::vector<Offset> prepared;
  prepared.reserve(pairs.size() / 2);
  for (std::size_t i = 0; i < pairs.size(); i += 2) {
    const auto entry = request.table().prepare(pairs[i], pairs[i + 1]);
    if (!succeeded(request, entry)) {
      for (const Offset made : prepared) request.table().discard(made);
      return After::go_on;
    }
    prepared.push_back(*entry);
  }
  for (const Offset made : prepared) request.table().commit(made);
  request.reply.ok();
  return After::go_on;
}

After del(Request& request) {
  std::int64_t erased = 0;
  for (const auto key : request.arguments.subspan(1)) erased += request.table().erase(key);
  request.reply.integer(erased);
  return After::go_on;
}

After exists(Request& request) {
  std::int64_t found = 0;
  for (const auto key : request.arguments.subspan(1)) {
    found += request.table().get(key).has_value();
  }
  request.reply.integer(found);
  return After::go_on;
}

After type(Request& request) {
  request.reply.simple(request.table().get(request.arguments[1]) ? "string" : "none");
  return After::go_on;
}

After strlen(Request& request) {
  const auto value = request.table().get(request.arguments[1]);
  request.reply.integer(value ? static_cast<std::int64_t>(value->size()) : 0);
  return After::go_on;
}

After append(Request& request) {
  const std::string_view key = request.arguments[1];
  const auto value = request.table().get(key);
  if (value && value->size() + request.arguments[2].size() > kBulkMost) {
    request.reply.error("ERR the value would be larger than " + std::to_string(kBulkMost) +
                        " bytes");
    return After::go_on;
  }
  const auto length = request.table().append(key, request.arguments[2]);
  if (succeeded(request, length)) request.reply.integer(static_cast<std::int64_t>(*length));
  return After::go_on;
}

After add(Request& request, std::int64_t change) {
  const std::string_view key = request.arguments[1];
  const auto value = request.table().get(key);
  const auto old = value ? to_integer(*value) : std::optional<std::int64_t>(0);
  std::int64_t sum = 0;
  if (!old) {
    request.reply.error(kNotAnInteger);
  } else if (__builtin_add_overflow(*old, change, &sum)) {
    request.reply.error("ERR increment or decrement would overflow");
  } else if (succeeded(request, request.table().set(key, std::to_string(sum)))) {
    request.reply.integer(sum);
  }
  return After::go_on;
}

After incr(Request& request) { return add(request, 1); }
After decr(Request& request) { return add(request, -1); }

After incrby(Request& request) {
  if (const auto change = to_integer(request.arguments[2])) return add(request, *change);
  request.reply.error(kNotAnInteger);
  return After::go_on;
}

After decrby(Request& request) {
  const auto change = to_integer(request.arguments[2]);
  if (change && *change != std::numeric_limits<std::int64_t>::min()) return add(request, -*change);
  request.reply.error(change ? "ERR decrement would overflow" : kNotAnInteger);
  return After::go_on;
}

After dbsize(Request& request) {
  request.reply.integer(static_cast<std::int64_t>(request.table().count()));
  return After::go_on;
}

After flushall(Request& request) {
  const std::string how = request.arguments.size() > 1 ? upper_case(request.arguments[1]) : "SYNC";
  if (request.arguments.size() > 2 || (how != "SYNC" && how != "ASYNC")) {
    request.reply.error("ERR syntax error");
  } else if (succeeded(request, request.service.database.clear())) {
    request.reply.ok();
  }
  return After::go_on;
}

After keys(Request& request) {
  const std::string_view pattern = request.arguments[1];
  std::size_t found = 0;
  Reply body;  // how many there are stands before them
  body.begin();
  request.table().for_each([&](const Entry& entry) {
    if (body.too_large() || !glob_match(pattern, entry.key())) return;
    body.bulk(entry.key());
    ++found;
  });
  if (body.too_large()) {
    body.end();
  } else {
    request.reply.array(found);
  }
  request.reply.raw(body.pending());
  return After::go_on;
}

struct ScanOptions {
  std::uint64_t cursor = 0;
  std::int64_t count = 10;  // keys to visit, about
  std::string_view pattern = "*";
};

// Nothing: it has answered with an error.
std::optional<ScanOptions> read_scan_options(Request& request) {
  ScanOptions options;
  const std::string_view cursor = request.arguments[1];
  const char* const end = cursor.data() + cursor.size();
  const auto [stop, code] = std::from_chars(cursor.data(), end, options.cursor);
  if (code != std::errc() || stop != end) {
    request.reply.error("ERR invalid cursor");
    return std::nullopt;
  }
  const Arguments rest = request.arguments.subspan(2);
  for (std::size_t i = 0; i < rest.size(); i += 2) {
    const std::string name = upper_case(rest[i].substr(0, 8));
    const bool has_value = i + 1 < rest.size();
    if (has_value && name == "MATCH") {
      options.pattern = rest[i + 1];
    } else if (has_value && name == "COUNT") {
      options.count = to_integer(rest[i + 1]).value_or(0);
    } else {
      options.count = 0;
    }
  }
  if (options.count >= 1) return options;
  request.reply.error("ERR syntax error: SCAN cursor [MATCH pattern] [COUNT 1 or more]");
  return std::nullopt;
}

After scan(Request& request) {
  const auto options = read_scan_options(request);
  if (!options) return After::go_on;
  std::uint64_t cursor = options->cursor;
  std::vector<std::string> found;
  std::int64_t visited = 0;
  std::size_t bytes = 0;
  do {
    cursor = request.table().scan(cursor, [&](const Entry& entry) {
      ++visited;
      if (!glob_match(options->pattern, entry.key())) return;
      bytes += entry.key().size();
      found.emplace_back(entry.key());
    });
    ++visited;  // empty buckets take their time too
  } while (cursor != 0 && visited < options->count && bytes < kOutputHigh);
  request.reply.array(2);
  request.reply.bulk(std::to_string(cursor));
  request.reply.array(found.size());
  for (const auto& key : found) request.reply.bulk(key);
  return After::go_on;
}

constexpr std::array kCommands = {
    Command{"GET", 2, false, get},
    Command{"SET", -3, true, set},
    Command{"MGET", -2, false, mget},
    Command{"MSET", -3, true, mset},
    Command{"DEL", -2, false, del},
    Command{"EXISTS", -2, false, exists},
    Command{"TYPE", 2, false, type},
    Command{"STRLEN", 2, false, strlen},
    Command{"APPEND", 3, true, append},
    Command{"INCR", 2, true, incr},
    Command{"DECR", 2, true, decr},
    Command{"INCRBY", 3, true, incrby},
    Command{"DECRBY", 3, true, decrby},
    Command{"DBSIZE", 1, false, dbsize},
    Command{"KEYS", 2, false, keys},
    Command{"SCAN", -2, false, scan},
    Command{"FLUSHALL", -1, false, flushall},
};

}  // namespace

std::span<const Command> key_commands() { return kCommands; }

}  // namespace kv
