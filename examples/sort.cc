// sort: sorts four times more numbers than the memory budget holds, through plain pointers.
//
//     sort [--memory 64M] [--times 4]
//
// std::sort knows nothing of paging. It works through its data from both ends towards the middle,
// which the engine sees as two streams and brings in ahead, in runs.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <random>

#include "holdfast/holdfast.h"

namespace {

int complain(const holdfast::Error& error) {
  std::fprintf(stderr, "sort: %s\n", error.message().c_str());
  return 1;
}

// The same for every order of the same numbers.
std::uint64_t checksum(const std::uint64_t* numbers, std::uint64_t count) {
  std::uint64_t sum = 0;
  for (std::uint64_t i = 0; i < count; ++i) sum += numbers[i] * (numbers[i] | 1);
  return sum;
}

int run(std::uint64_t memory, std::uint64_t times) {
  holdfast::Options options;
  options.memory_budget = memory;
  // Random numbers do not compress: what does not fit goes to a file, as it is.
  options.swap = {
      {.kind = holdfast::SwapTier::Kind::file, .compression = holdfast::SwapCompression::none}};
  auto engine = holdfast::Engine::create(options);
  if (!engine) return complain(engine.error());
  auto region = (*engine)->map_anonymous(memory * times);
  if (!region) return complain(region.error());
  std::printf("%s; %llu MiB of numbers in %llu MiB\n", (*engine)->description().c_str(),
              static_cast<unsigned long long>(region->size() >> 20),
              static_cast<unsigned long long>(memory >> 20));

  auto* const numbers = reinterpret_cast<std::uint64_t*>(region->data());
  const std::uint64_t count = region->size() / sizeof(std::uint64_t);
  std::mt19937_64 random(1);
  for (std::uint64_t i = 0; i < count; ++i) numbers[i] = random();
  const std::uint64_t before = checksum(numbers, count);

  std::sort(numbers, numbers + count);

  const bool sorted = std::is_sorted(numbers, numbers + count);
  const bool same = checksum(numbers, count) == before;
  std::fputs((*engine)->stats().to_string().c_str(), stdout);
  std::printf("%s, %s\n", sorted ? "sorted" : "NOT SORTED",
              same ? "checksum ok" : "CHECKSUM WRONG");
  return sorted && same ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
  std::uint64_t memory = 64 << 20;
  std::uint64_t times = 4;
  CLI::App app("Sorts more numbers than its memory budget holds.");
  app.add_option("--memory", memory, "memory budget: bytes, or with K, M or G")
      ->transform(CLI::AsSizeValue(false))
      ->default_str("64M");
  app.add_option("--times", times, "how many budgets of numbers")
      ->check(CLI::Range(1, 1024))
      ->capture_default_str();
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  }
  return run(memory, times);
}
