// persist: a map that lives in a file, through plain containers, and survives kill -9.
//
//     persist FILE put KEY VALUE | get KEY | erase KEY | list | check
//     persist FILE fill --count 1000      one commit for each entry; each is told when it is
//     durable
//
// The file is mapped with commits: what happens between two of them happens as a whole, whenever
// the process dies. There is nothing to load and nothing to save: the map stands in the file as it
// stands in memory, larger than the budget if need be.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <string>

#include "holdfast/holdfast.h"
#include "persistent_map.h"

namespace {

using persist::FileHeap;
using persist::OffsetPointer;
using persist::PersistentMap;

struct Request {
  std::string file;
  std::string what;
  std::string key;
  std::string value;
  std::uint64_t memory = 16 << 20;
  std::uint64_t count = 1000;
};

int complain(const holdfast::Error& error) {
  std::fprintf(stderr, "persist: %s\n", error.message().c_str());
  return 1;
}

int commit(holdfast::FileMapping& mapping) {
  const auto committed = mapping.commit();
  return committed ? 0 : complain(committed.error());
}

// Goes on where the last one stopped: the number of the next entry is in the map as well.
int fill(holdfast::FileMapping& mapping, PersistentMap& map, std::uint64_t count) {
  std::string_view last;
  std::uint64_t next = map.get("next", last) ? std::stoull(std::string(last)) : 0;
  for (std::uint64_t i = 0; i < count; ++i, ++next) {
    const std::string number = std::to_string(next);
    map.put("key " + number, std::string(100 + next % 400, 'a' + static_cast<char>(next % 26)));
    if (next % 3 == 2) map.erase("key " + std::to_string(next - 1));
    map.put("next", std::to_string(next + 1));
    if (const int status = commit(mapping); status != 0) return status;
    std::printf("%s\n", number.c_str());
    std::fflush(stdout);
  }
  return 0;
}

int serve(const Request& request, holdfast::FileMapping& mapping, PersistentMap& map) {
  if (request.what == "put") {
    map.put(request.key, request.value);
    return commit(mapping);
  }
  if (request.what == "erase") return map.erase(request.key) ? commit(mapping) : 1;
  if (request.what == "fill") return fill(mapping, map, request.count);
  if (request.what == "get") {
    std::string_view value;
    if (!map.get(request.key, value)) return 1;
    std::printf("%.*s\n", static_cast<int>(value.size()), value.data());
    return 0;
  }
  if (request.what == "list") {
    map.each([](std::string_view key, std::string_view value) {
      std::printf("%.*s\t%.*s\n", static_cast<int>(key.size()), key.data(),
                  static_cast<int>(value.size()), value.data());
    });
    return 0;
  }
  const bool sound = map.is_sound();
  std::printf("%llu entries, %s\n", static_cast<unsigned long long>(map.size()),
              sound ? "sound" : "NOT SOUND");
  return sound ? 0 : 1;
}

int run(const Request& request) {
  holdfast::Options options;
  options.memory_budget = request.memory;
  auto engine = holdfast::Engine::create(options);
  if (!engine) return complain(engine.error());
  auto mapping = holdfast::map_file(**engine, request.file,
                                    {.create = true,
                                     .commits = true,
                                     .at_least = FileHeap::kLeast,
                                     .capacity = std::uint64_t{64} << 30});
  if (!mapping) return complain(mapping.error());
  FileHeap heap(*mapping);
  if (!heap.is_sound()) {
    std::fprintf(stderr, "persist: %s is of another program\n", request.file.c_str());
    return 1;
  }
  persist::the_heap() = &heap;
  if (!heap.root()) {
    auto* const map = new (heap.allocate(sizeof(PersistentMap))) PersistentMap();
    heap.root() = OffsetPointer<void>(map);
  }
  return serve(request, *mapping, *static_cast<PersistentMap*>(heap.root().get()));
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("A map in a file that survives kill -9.", "persist");
  Request request;
  app.add_option("FILE", request.file, "the map; made where there is none")->required();
  app.add_option("WHAT", request.what, "what to do")
      ->required()
      ->check(CLI::IsMember({"put", "get", "erase", "list", "check", "fill"}));
  app.add_option("KEY", request.key, "put, get, erase: of which entry");
  app.add_option("VALUE", request.value, "put: what it is to hold");
  app.add_option("--memory", request.memory, "memory budget, bytes")
      ->transform(CLI::AsSizeValue(false))
      ->capture_default_str();
  app.add_option("--count", request.count, "fill: how many entries")->capture_default_str();
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  }
  return run(request);
}
