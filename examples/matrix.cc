// matrix: transposes a matrix that is larger than the memory budget, then saves it to a file.
//
//     matrix [--memory 32M] [--size 4096] [--file PATH]
//
// It shows the three things that a program may tell the engine, beyond plain loads and stores:
//   prefetch  - bring the next tiles in before they are needed;
//   advise    - this tile is done with, let it go first;
//   pin       - keep these pages resident and in place while a system call, or a device, uses them.
// All three are optional: without the first two the result is the same, only later.
#include <fcntl.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cerrno>
#include <cstdio>
#include <cstring>

#include "holdfast/holdfast.h"

namespace {

using Cell = std::uint64_t;
constexpr std::uint64_t kTile = 512;  // a tile's row is one page

int complain(const holdfast::Error& error) {
  std::fprintf(stderr, "matrix: %s\n", error.message().c_str());
  return 1;
}

Cell value_at(std::uint64_t row, std::uint64_t column) { return row << 32 | column; }

// A square matrix in a region of its own.
struct Matrix {
  holdfast::Region region;
  std::uint64_t size;

  [[nodiscard]] Cell* row(std::uint64_t r) const {
    return reinterpret_cast<Cell*>(region.data()) + r * size;
  }
  // A band of kTile rows, as bytes of the region.
  [[nodiscard]] std::uint64_t band_bytes() const { return kTile * size * sizeof(Cell); }
};

void transpose_tile(const Matrix& from, const Matrix& to, std::uint64_t row, std::uint64_t column) {
  for (std::uint64_t r = row; r < row + kTile; ++r) {
    for (std::uint64_t c = column; c < column + kTile; ++c) to.row(c)[r] = from.row(r)[c];
  }
}

// Band by band of the result. The source is read by columns of tiles, one page a row, which no
// stream detection can guess: so each tile's pages are asked for before they are read.
holdfast::Expected<void> transpose(Matrix& from, Matrix& to) {
  for (std::uint64_t band = 0; band < to.size; band += kTile) {
    for (std::uint64_t row = 0; row < from.size; row += kTile) {
      for (std::uint64_t r = row; r < row + kTile; ++r) {
        const std::uint64_t offset = (r * from.size + band) * sizeof(Cell);
        const auto in = from.region.prefetch(offset, kTile * sizeof(Cell));
        if (!in) return holdfast::fail(in.error());
      }
      transpose_tile(from, to, row, band);
    }
    // This band is complete and will not be read again soon.
    const auto told =
        to.region.advise(band * to.size * sizeof(Cell), to.band_bytes(), holdfast::Advice::cold);
    if (!told) return told;
  }
  return {};
}

// Writes the matrix a band at a time. A system call must be given pinned memory: with faults served
// by signal, write() fails with EFAULT on what is not resident. The pin ends with its scope.
int save(holdfast::Engine& engine, const Matrix& matrix, int file) {
  const std::uint64_t piece = matrix.band_bytes() / 64;  // small beside the budget
  for (std::uint64_t offset = 0; offset < matrix.region.size(); offset += piece) {
    const std::byte* const data = matrix.region.data() + offset;
    const auto pin = engine.pin(data, piece);
    if (!pin) return complain(pin.error());
    if (pwrite(file, data, piece, static_cast<off_t>(offset)) != static_cast<ssize_t>(piece)) {
      std::fprintf(stderr, "matrix: cannot write the file: %s\n", std::strerror(errno));
      return 1;
    }
  }
  return 0;
}

// Reads the file back into pinned memory and checks every cell.
int check(holdfast::Engine& engine, const Matrix& matrix, int file) {
  const std::uint64_t row_bytes = matrix.size * sizeof(Cell);
  auto buffer = engine.map_anonymous(row_bytes);
  if (!buffer) return complain(buffer.error());
  const auto pin = engine.pin(buffer->data(), row_bytes);
  if (!pin) return complain(pin.error());
  const auto* const cells = reinterpret_cast<const Cell*>(buffer->data());
  std::uint64_t wrong = 0;
  for (std::uint64_t r = 0; r < matrix.size; ++r) {
    const auto offset = static_cast<off_t>(r * row_bytes);
    if (pread(file, buffer->data(), row_bytes, offset) != static_cast<ssize_t>(row_bytes)) {
      std::fprintf(stderr, "matrix: cannot read the file: %s\n", std::strerror(errno));
      return 1;
    }
    for (std::uint64_t c = 0; c < matrix.size; ++c) {
      if (cells[c] != value_at(c, r) || matrix.row(r)[c] != cells[c]) ++wrong;
    }
  }
  std::printf("%s: %llu wrong cells of %llu\n", wrong == 0 ? "transposed" : "WRONG",
              static_cast<unsigned long long>(wrong),
              static_cast<unsigned long long>(matrix.size * matrix.size));
  return wrong == 0 ? 0 : 1;
}

int run(std::uint64_t memory, std::uint64_t size, int file) {
  holdfast::Options options;
  options.memory_budget = memory;
  options.swap = {{.kind = holdfast::SwapTier::Kind::ram},
                  {.kind = holdfast::SwapTier::Kind::file}};
  auto engine = holdfast::Engine::create(options);
  if (!engine) return complain(engine.error());
  const std::uint64_t bytes = size * size * sizeof(Cell);
  auto first = (*engine)->map_anonymous(bytes);
  if (!first) return complain(first.error());
  auto second = (*engine)->map_anonymous(bytes);
  if (!second) return complain(second.error());
  std::printf("%s; two matrices of %llu MiB in %llu MiB\n", (*engine)->description().c_str(),
              static_cast<unsigned long long>(bytes >> 20),
              static_cast<unsigned long long>(memory >> 20));

  Matrix from{std::move(*first), size};
  Matrix to{std::move(*second), size};
  for (std::uint64_t r = 0; r < size; ++r) {
    for (std::uint64_t c = 0; c < size; ++c) from.row(r)[c] = value_at(r, c);
  }
  if (const auto done = transpose(from, to); !done) return complain(done.error());
  // The source is not needed any more: give its memory and its swap space back.
  if (const auto freed = from.region.advise(0, bytes, holdfast::Advice::free); !freed) {
    return complain(freed.error());
  }
  int status = save(**engine, to, file);
  if (status == 0) status = check(**engine, to, file);
  std::fputs((*engine)->stats().to_string().c_str(), stdout);
  return status;
}

}  // namespace

int main(int argc, char** argv) {
  std::uint64_t memory = 32 << 20;
  std::uint64_t size = 4096;
  std::string path;
  CLI::App app("Transposes a matrix that is larger than its memory budget.");
  app.add_option("--memory", memory, "memory budget: bytes, or with K, M or G")
      ->transform(CLI::AsSizeValue(false))
      ->default_str("32M");
  app.add_option("--size", size, "rows and columns, a multiple of 512")
      ->check(CLI::Validator(
          [](std::string& text) {
            const std::uint64_t value = std::strtoull(text.c_str(), nullptr, 10);
            const bool good = value != 0 && value <= 65536 && value % kTile == 0;
            return good ? std::string() : text + " is not a multiple of 512 from 512 to 65536";
          },
          "UINT"))
      ->capture_default_str();
  app.add_option("--file", path, "where to save the result (default: a nameless file)");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  }
  const int file = path.empty() ? open("/var/tmp", O_TMPFILE | O_RDWR, 0600)
                                : open(path.c_str(), O_CREAT | O_TRUNC | O_RDWR, 0600);
  if (file < 0) {
    std::fprintf(stderr, "matrix: cannot open %s: %s\n", path.empty() ? "/var/tmp" : path.c_str(),
                 std::strerror(errno));
    return 1;
  }
  const int status = run(memory, size, file);
  close(file);
  return status;
}
