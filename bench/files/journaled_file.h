// A file that is mapped with commits: on the disk, with content, and without the journal that it
// may leave.
#pragma once

#include <unistd.h>

#include <cstdint>
#include <memory>
#include <string>
#include <utility>

#include "transfer/disk_file.h"

namespace holdfast::bench {

class JournaledFile {
 public:
  [[nodiscard]] static Result<JournaledFile> create(std::uint64_t bytes) {
    auto file = DiskFile::create("/var/tmp", bytes);
    if (!file) return std::unexpected(file.error());
    return JournaledFile(std::move(*file));
  }
  JournaledFile(JournaledFile&&) = default;
  ~JournaledFile() {
    if (file_ != nullptr) unlink(journal().c_str());
  }

  [[nodiscard]] const std::string& path() const { return file_->path(); }
  [[nodiscard]] std::string journal() const { return path() + ".holdfast-journal"; }

 private:
  explicit JournaledFile(std::unique_ptr<DiskFile> file) : file_(std::move(file)) {}

  std::unique_ptr<DiskFile> file_;
};

}  // namespace holdfast::bench
