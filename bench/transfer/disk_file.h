// The file that both sides transfer: on a disk, written out, with a name only as long as it is
// needed.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "trouble.h"

namespace holdfast::bench {

class DiskFile {
 public:
  // Makes and fills it with the content of a Workload, so that what is read from it compresses as
  // the other comparisons' pages do. The name goes with the object.
  [[nodiscard]] static Result<std::unique_ptr<DiskFile>> create(const std::string& directory,
                                                                std::uint64_t bytes);
  ~DiskFile();
  DiskFile(const DiskFile&) = delete;
  DiskFile& operator=(const DiskFile&) = delete;

  // What the first word of each page is.
  [[nodiscard]] static std::uint64_t tag_of(std::uint64_t page);
  [[nodiscard]] const std::string& path() const { return path_; }
  [[nodiscard]] std::uint64_t bytes() const { return bytes_; }
  // A descriptor with O_DIRECT; the caller closes it.
  [[nodiscard]] static Result<int> open_direct(const std::string& path);

 private:
  DiskFile(std::string path, std::uint64_t bytes) : path_(std::move(path)), bytes_(bytes) {}

  std::string path_;
  std::uint64_t bytes_;
};

}  // namespace holdfast::bench
