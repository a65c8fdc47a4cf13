// A stranger's program: sums numbers that take four times its budget.
#include <holdfast/holdfast.h>

#include <cstdint>
#include <cstdio>

int main() {
  holdfast::Options options;
  options.memory_budget = 16ull << 20;
  options.swap.push_back({.kind = holdfast::SwapTier::Kind::file});  // behind compressed RAM
  auto engine = holdfast::Engine::create(options);
  if (!engine) {
    std::fprintf(stderr, "%s\n", engine.error().message().c_str());
    return 1;
  }
  constexpr std::uint64_t kNumbers = (64ull << 20) / sizeof(std::uint64_t);
  auto region = (*engine)->map_anonymous(kNumbers * sizeof(std::uint64_t));
  if (!region) {
    std::fprintf(stderr, "%s\n", region.error().message().c_str());
    return 1;
  }
  auto* numbers = reinterpret_cast<std::uint64_t*>(region->data());
  for (std::uint64_t i = 0; i < kNumbers; ++i) numbers[i] = i;
  std::uint64_t sum = 0;
  for (std::uint64_t i = 0; i < kNumbers; ++i) sum += numbers[i];
  const bool right = sum == kNumbers * (kNumbers - 1) / 2;
  std::printf("%s: sum %llu, %s\n", (*engine)->description().c_str(),
              static_cast<unsigned long long>(sum), right ? "right" : "WRONG");
  return right ? 0 : 1;
}
