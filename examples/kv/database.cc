#include "database.h"

#include <algorithm>
#include <random>
#include <utility>

namespace kv {
namespace {

constexpr std::uint64_t kMagic = 0x666c64'68'766b'2e31;  // "1.kvhdlf" in memory
constexpr std::uint64_t kVersion = 1;
constexpr std::uint64_t kFirstBytes = 16 << 20;  // of the region; it grows as it fills

}  // namespace

Database::Database(holdfast::Engine& engine, holdfast::Region region)
    : region_(std::move(region)),
      root_(*reinterpret_cast<Root*>(region_.data())),
      heap_(engine, region_, root_.heap),
      table_(heap_, root_.table) {}

holdfast::Expected<std::unique_ptr<Database>> Database::create(holdfast::Engine& engine,
                                                               std::uint64_t capacity) {
  auto region = engine.map_anonymous(std::min(kFirstBytes, capacity), capacity);
  if (!region) return holdfast::fail(region.error());
  std::unique_ptr<Database> made(new Database(engine, std::move(*region)));
  if (const auto done = made->format(); !done) return holdfast::fail(done.error());
  return made;
}

holdfast::Expected<std::unique_ptr<Database>> Database::open(holdfast::Engine& engine,
                                                             holdfast::Region region) {
  std::unique_ptr<Database> opened;
  if (region.size() >= sizeof(Root)) opened.reset(new Database(engine, std::move(region)));
  if (opened && opened->root_.magic == kMagic && opened->root_.version == kVersion) return opened;
  return holdfast::fail({.code = holdfast::Errc::corrupted,
                         .doing = "open the data",
                         .what = "data of this version of kv: version",
                         .value = opened ? opened->root_.version : 0,
                         .limit = kVersion,
                         .remedy = "name another --dir, or move the image away"});
}

holdfast::Expected<void> Database::format() {
  std::random_device chance;
  root_.version = kVersion;
  heap_.format(sizeof(Root));
  const auto made = table_.format(std::uint64_t{chance()} << 32 | chance());
  root_.magic = made ? kMagic : 0;
  return made;
}

holdfast::Expected<void> Database::clear() {
  const auto freed = region_.advise(0, region_.size(), holdfast::Advice::free);
  if (!freed) return freed;
  return format();
}

}  // namespace kv
