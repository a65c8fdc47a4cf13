// index: an inverted index over this machine's documentation, in a quarter of the memory it needs.
//
//     index [--memory 64M] [--query "WORDS"] [--input DIR]... [--copies auto|N]
//
// 1. builds the index in managed memory under the budget, and answers a query;
// 2. shows what the engine did, and that the process stayed under its budget;
// 3. builds the same index in ordinary memory and compares every term and posting.
// Exit status: 0 only if both are identical and the memory kept within its bound.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <memory>
#include <optional>

#include "corpus.h"
#include "holdfast/holdfast.h"
#include "inverted_index.h"
#include "progress.h"
#include "resident.h"

namespace {

struct Settings {
  std::uint64_t memory = 64 << 20;
  std::string query = "virtual memory page fault";
  std::vector<std::string> inputs;
  std::string copies = "auto";
};

double mib(std::uint64_t bytes) { return static_cast<double>(bytes) / (1 << 20); }

// How large the index grows where --copies is auto: live bytes of the containers, in hundredths of
// the budget. Vectors keep room to grow which is never touched; this leaves four budgets without
// it.
constexpr std::uint64_t kEnoughPercent = 440;

std::unique_ptr<holdfast::Engine> make_engine(std::uint64_t memory) {
  holdfast::Options options;
  options.memory_budget = memory;
  // Compressed memory first (inside the budget), then a file.
  options.swap = {{.kind = holdfast::SwapTier::Kind::ram},
                  {.kind = holdfast::SwapTier::Kind::file}};
  auto engine = holdfast::Engine::create(options);
  if (!engine) {
    std::fprintf(stderr, "index: %s\n", engine.error().message().c_str());
    return nullptr;
  }
  return std::move(*engine);
}

// Loads code and buffers, so that the baseline is what the program needs without any index.
void warm_up(Corpus& corpus) {
  InvertedIndex index(std::pmr::new_delete_resource());
  for (std::size_t i = 0; index.postings() < InvertedIndex::kBatch; ++i) {
    index.add(corpus.name(i), corpus.read(i));
    if (i > 1'000'000) return;  // documents without words
  }
  index.flush();
  (void)index.search("linux", 1);
}

void print_hits(const Settings& settings, const InvertedIndex& index) {
  std::printf("query: %s\n", settings.query.c_str());
  for (const Hit& hit : index.search(settings.query, 5)) {
    std::printf("  %8.2f  %s\n", hit.score, hit.name.c_str());
  }
}

// The managed half: builds, answers, reports.
void build_managed(const Settings& settings, Corpus& corpus, holdfast::Engine& engine,
                   holdfast::RegionResource& memory, InvertedIndex& index) {
  const std::optional<std::uint64_t> copies =
      settings.copies == "auto" ? std::nullopt : std::optional(std::stoull(settings.copies));
  Progress progress;
  const auto enough = [&] {
    return copies ? index.documents() >= *copies * corpus.size()
                  : memory.allocated_bytes() >= settings.memory / 100 * kEnoughPercent;
  };
  while (!enough()) {
    const std::size_t next = index.documents();
    index.add(corpus.name(next), corpus.read(next));
    if (progress.due()) {
      progress.show(index.documents(), index.postings(), memory.allocated_bytes(),
                    engine.stats().faults);
    }
  }
  index.flush();
  progress.finish();
  std::printf(
      "managed memory: %llu documents, %llu terms, %llu postings, index %.1f MiB "
      "(%.1f times the budget), %.1f s\n",
      static_cast<unsigned long long>(index.documents()),
      static_cast<unsigned long long>(index.terms()),
      static_cast<unsigned long long>(index.postings()), mib(memory.allocated_bytes()),
      static_cast<double>(memory.allocated_bytes()) / static_cast<double>(settings.memory),
      progress.seconds());
  print_hits(settings, index);
}

void print_report(holdfast::Engine& engine, const holdfast::Stats& stats) {
  std::uint64_t image = 0;
  std::uint64_t pages = 0;
  for (const auto& tier : stats.tiers) {
    image += tier.image_bytes;
    pages += tier.pages;
  }
  const std::uint64_t evictions =
      stats.evicted_clean + stats.evicted_same_filled + stats.evicted_written;
  std::printf("engine: %s\n", engine.description().c_str());
  std::printf("summary: %llu faults, %llu rescues, %llu evictions, compression ratio %.2f\n",
              static_cast<unsigned long long>(stats.faults),
              static_cast<unsigned long long>(stats.faults_rescued),
              static_cast<unsigned long long>(evictions),
              image == 0 ? 1.0 : static_cast<double>(pages) * 4096 / static_cast<double>(image));
  std::fputs(stats.to_string().c_str(), stdout);
}

// True if the process stayed within budget + overhead: what it needed before there was an engine,
// what the engine states beside its budget, and the allocator's own tables.
bool print_peak(const Settings& settings, std::uint64_t peak, std::uint64_t baseline,
                const holdfast::Stats& stats, std::uint64_t tables) {
  const std::uint64_t overhead = baseline + stats.overhead_bytes + tables;
  const bool ok = peak <= settings.memory + overhead;
  std::printf("overhead: program %.1f MiB, engine %.1f MiB, allocator's tables %.1f MiB\n",
              mib(baseline), mib(stats.overhead_bytes), mib(tables));
  std::printf("peak resident %.1f MiB <= budget %.1f MiB + overhead %.1f MiB: %s\n", mib(peak),
              mib(settings.memory), mib(overhead), ok ? "ok" : "EXCEEDED");
  return ok;
}

// The same documents once more, with nothing of ours; true if everything is the same.
bool compare_with_ordinary(Corpus& corpus, const InvertedIndex& managed) {
  const Progress progress;
  const std::uint64_t before = resident_bytes();
  InvertedIndex ordinary(std::pmr::new_delete_resource());
  while (ordinary.documents() < managed.documents()) {
    const std::size_t next = ordinary.documents();
    ordinary.add(corpus.name(next), corpus.read(next));
  }
  ordinary.flush();
  std::printf("ordinary memory: the same index takes %.1f MiB resident, %.1f s\n",
              mib(resident_bytes() - before), progress.seconds());
  std::fflush(stdout);
  const std::string difference = managed.difference(ordinary);
  if (difference.empty()) {
    std::printf("identical\n");
    return true;
  }
  std::printf("DIFFERENT: %s\n", difference.c_str());
  return false;
}

int run(const Settings& settings) {
  Corpus corpus(settings.inputs);
  if (corpus.size() == 0) {
    std::fprintf(stderr, "index: no files under the input directories; name some by --input DIR\n");
    return 1;
  }
  warm_up(corpus);
  const std::uint64_t baseline = resident_bytes();
  reset_peak_resident();

  auto engine = make_engine(settings.memory);
  if (!engine) return 1;
  // Address space is free: memory is used only where it is touched.
  auto memory = holdfast::RegionResource::create(*engine, 64ull << 30);
  if (!memory) {
    std::fprintf(stderr, "index: %s\n", memory.error().message().c_str());
    return 1;
  }
  InvertedIndex index(memory->get());
  std::printf("%zu files; budget %.1f MiB; %s\n", corpus.size(), mib(settings.memory),
              engine->description().c_str());
  build_managed(settings, corpus, *engine, **memory, index);
  const std::uint64_t peak = peak_resident_bytes();
  const holdfast::Stats stats = engine->stats();
  print_report(*engine, stats);
  const bool within = print_peak(settings, peak, baseline, stats, (*memory)->table_bytes());
  return compare_with_ordinary(corpus, index) && within ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
  Settings settings;
  CLI::App app("An inverted index over this machine's text, in less memory than it needs.");
  app.add_option("--memory", settings.memory, "memory budget: bytes, or with K, M or G")
      ->transform(CLI::AsSizeValue(false))
      ->default_str("64M");
  app.add_option("--query", settings.query, "words to look for")->capture_default_str();
  app.add_option("--input", settings.inputs, "directory with text (may be repeated)")
      ->default_str("/usr/share/{doc,man,common-licenses,perl,perl5,info}");
  app.add_option("--copies", settings.copies,
                 "how many times the documents are added; auto: until the index is several times "
                 "the budget")
      ->check(CLI::Validator(
          [](std::string& text) {
            const bool number = !text.empty() && text.size() < 7 && text != "0" &&
                                text.find_first_not_of("0123456789") == std::string::npos;
            return number || text == "auto" ? "" : text + " is neither auto nor 1 to 999999";
          },
          "auto|N"))
      ->capture_default_str();
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  }
  if (settings.inputs.empty()) {
    for (const char* name : {"doc", "man", "common-licenses", "perl", "perl5", "info"}) {
      settings.inputs.push_back(std::string("/usr/share/") + name);
    }
  }
  return run(settings);
}
