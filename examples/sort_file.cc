// sort_file: sorts a file of 64-bit numbers in place, by several threads, in a fraction of its
// size.
//
//     sort_file FILE [--memory 64M] [--threads 2] [--make 256M]
//
// std::partition and std::sort know nothing of files. What they change goes back to the file as it
// leaves memory, and sync() makes the rest durable.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <random>
#include <span>
#include <string>
#include <thread>

#include "holdfast/holdfast.h"

namespace {

using Numbers = std::span<std::uint64_t>;

struct Request {
  std::string file;
  std::uint64_t memory = 64 << 20;
  unsigned threads = 2;
  std::uint64_t make = 0;  // bytes
};

int complain(const holdfast::Error& error) {
  std::fprintf(stderr, "sort_file: %s\n", error.message().c_str());
  return 1;
}

// The same for every order of the same numbers.
std::uint64_t checksum(Numbers numbers) {
  std::uint64_t sum = 0;
  for (const std::uint64_t number : numbers) sum += number * (number | 1);
  return sum;
}

// The median of numbers by chance.
std::uint64_t pivot_of(Numbers numbers) {
  std::mt19937_64 chance(numbers.size());
  std::uint64_t some[31];
  for (std::uint64_t& one : some) one = numbers[chance() % numbers.size()];
  std::nth_element(some, some + 15, some + 31);
  return some[15];
}

void sort(Numbers numbers, unsigned threads) {
  if (threads <= 1 || numbers.size() < 100'000) return std::sort(numbers.begin(), numbers.end());
  const std::uint64_t pivot = pivot_of(numbers);
  const auto middle = std::partition(numbers.begin(), numbers.end(),
                                     [&](std::uint64_t number) { return number < pivot; });
  const auto below = static_cast<std::size_t>(middle - numbers.begin());
  std::thread other([=] { sort(numbers.subspan(below), threads - threads / 2); });
  sort(numbers.first(below), threads / 2);
  other.join();
}

int run(const Request& request) {
  holdfast::Options options;
  options.memory_budget = request.memory;
  auto engine = holdfast::Engine::create(options);
  if (!engine) return complain(engine.error());
  auto mapping = holdfast::map_file(**engine, request.file,
                                    {.create = request.make != 0, .at_least = request.make});
  if (!mapping) return complain(mapping.error());
  const Numbers numbers(reinterpret_cast<std::uint64_t*>(mapping->data()),
                        mapping->size() / sizeof(std::uint64_t));
  std::mt19937_64 chance(1);
  if (request.make != 0) std::generate(numbers.begin(), numbers.end(), chance);
  const std::uint64_t before = checksum(numbers);

  sort(numbers, request.threads);
  if (auto durable = mapping->sync(); !durable) return complain(durable.error());

  const bool sorted = std::is_sorted(numbers.begin(), numbers.end());
  const bool same = checksum(numbers) == before;
  std::fputs((*engine)->stats().to_string().c_str(), stdout);
  std::printf("%s, %s\n", sorted ? "sorted" : "NOT SORTED",
              same ? "checksum ok" : "CHECKSUM WRONG");
  return sorted && same ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("Sorts a file of 64-bit numbers in place, through plain pointers.", "sort_file");
  Request request;
  app.add_option("FILE", request.file, "the numbers, 8 bytes each")->required();
  app.add_option("--memory", request.memory, "memory budget, bytes")
      ->transform(CLI::AsSizeValue(false))
      ->capture_default_str();
  app.add_option("--threads", request.threads, "how many sort")
      ->check(CLI::Range(1, 64))
      ->capture_default_str();
  app.add_option("--make", request.make, "make it first: as many bytes of numbers by chance")
      ->transform(CLI::AsSizeValue(false));
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  }
  return run(request);
}
