// Writing an image: what a RunSource says, appended to a ByteSink from front to back.
//
// Memory: a few MiB of buffers, and the index, 64 bytes for each 64 KiB of data. Nothing is visible
// or whole before the sink's commit() at the very end.
#pragma once

#include <cstdint>

#include "base/base.h"
#include "image/format.h"
#include "image/reader.h"
#include "image/run_source.h"
#include "sys/sys.h"

namespace holdfast::image {

// Told of the progress of a save, on the thread that saves. False: stop, and leave nothing.
class WriteProgress {
 public:
  [[nodiscard]] virtual bool written(std::uint64_t pages, std::uint64_t pages_in_all,
                                     std::uint64_t bytes) = 0;

 protected:
  ~WriteProgress() = default;
};

struct WriteOptions {
  Encoding encoding = Encoding::lz4;
  std::uint32_t threads = 0;          // that compress; 0: one for each CPU
  Reader* base = nullptr;             // with its own bases; null: the image is full
  WriteProgress* progress = nullptr;  // may be null
};

struct WriteReport {
  Id id;
  base::Hash128 index_checksum;  // with the id, what a later incremental image refers to
  std::uint64_t pages = 0;       // image pages
  std::uint64_t data_pages = 0, filled_pages = 0, unchanged_pages = 0;
  std::uint64_t bytes = 0;        // of the image
  std::uint64_t nanoseconds = 0;  // from beginning to end
};

// Writes the image and commits the sink. On an error the sink has been left uncommitted. Task
// context; allocates. Errors: invalid_argument (a source with impossible runs), cancelled,
// io_error, system (value: the offset at which writing failed), those of the source and the base.
[[nodiscard]] Expected<WriteReport> write_image(sys::Machine& machine, RunSource& source,
                                                sys::ByteSink& sink, const WriteOptions& options);

}  // namespace holdfast::image
