// A process that saves an image, or restores one and looks at every word of it.
//
//   far_image save NAME MEBIBYTES VERSION [BASE]
//   far_image restore NAME MEBIBYTES VERSION [STEP]
//
// Version v of the memory: every third page is zeros, of the others every tenth is of version v and
// the rest are of version 0. STEP: a file; after a quarter of its pages, restore makes STEP.begun
// and waits until STEP is there. Exit status: 0; 1 after a line that says what was wrong.
#include <sched.h>
#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <string>

#include "holdfast/holdfast.h"

namespace {

constexpr std::uint64_t kWords = 512;

std::uint64_t word_at(std::uint64_t page, std::uint64_t word, std::uint64_t version) {
  if (page % 3 == 0) return 0;
  const std::uint64_t of = page % 10 == 1 ? version : 0;
  if (word % 2 == 0) return page << 16 | of;  // half of it compresses
  std::uint64_t x = (page << 20 | word << 8 | of) * 0x9e3779b97f4a7c15ULL;
  return x ^ x >> 29;
}

[[noreturn]] void die(const holdfast::Error& error) {
  std::printf("%s\n", error.message().c_str());
  std::exit(1);
}

void save(holdfast::Engine& engine, const std::string& name, std::uint64_t pages,
          std::uint64_t version, const char* base_name) {
  auto region = engine.map_anonymous(pages * 4096);
  if (!region) die(region.error());
  auto* const words = reinterpret_cast<std::uint64_t*>(region->data());
  for (std::uint64_t i = 0; i < pages * kWords; ++i) {
    if (const std::uint64_t word = word_at(i / kWords, i % kWords, version)) words[i] = word;
  }
  const auto snapshot = engine.snapshot(*region);
  if (!snapshot) die(snapshot.error());
  holdfast::SaveOptions options;
  holdfast::Image base;
  if (base_name != nullptr) {
    auto opened = holdfast::Image::open(base_name);
    if (!opened) die(opened.error());
    base = std::move(*opened);
    options.base = &base;
  }
  const auto saved = holdfast::save_to(*snapshot, name, options);
  if (!saved) die(saved.error());
  std::printf("saved %llu\n", static_cast<unsigned long long>(saved->file_bytes));
}

void pause_at(const std::string& step) {
  std::ofstream(step + ".begun").close();
  while (::access(step.c_str(), F_OK) != 0) ::sched_yield();
}

void restore(holdfast::Engine& engine, const std::string& name, std::uint64_t pages,
             std::uint64_t version, const char* step) {
  auto region = holdfast::restore_from(engine, name);
  if (!region) die(region.error());
  const auto* const words = reinterpret_cast<const std::uint64_t*>(region->data());
  for (std::uint64_t i = 0; i < pages; ++i) {
    if (step != nullptr && i == pages / 4) pause_at(step);
    const std::uint64_t page = i * 7919 % pages;  // all of them, in no order
    for (std::uint64_t word = 0; word < kWords; ++word) {
      if (words[page * kWords + word] == word_at(page, word, version)) continue;
      std::printf("page %llu is wrong\n", static_cast<unsigned long long>(page));
      std::exit(1);
    }
  }
  std::printf("every byte was right\n");
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 5) return 2;
  holdfast::Options options;
  options.memory_budget = 16 << 20;
  auto engine = holdfast::Engine::create(options);
  if (!engine) die(engine.error());
  const std::uint64_t pages = std::strtoull(argv[3], nullptr, 10) << 8;
  const std::uint64_t version = std::strtoull(argv[4], nullptr, 10);
  const char* const last = argc > 5 ? argv[5] : nullptr;
  if (std::string(argv[1]) == "save") {
    save(**engine, argv[2], pages, version, last);
  } else {
    restore(**engine, argv[2], pages, version, last);
  }
  return 0;
}
