// The public calls of file mappings.
#include "holdfast/file.h"

#include <utility>

#include "base/base.h"
#include "sync/sync.h"

namespace holdfast {
namespace {

std::unexpected<Error> no_mapping(const char* doing) noexcept {
  return fail({.code = Errc::not_mapped,
               .doing = doing,
               .what = "file mapping",
               .remedy = "the mapping was unmapped or moved from: map a file first"});
}

}  // namespace

Source::Source(const FileMapping& file) noexcept : file_(file.control()) {}
Source::Source(const FileMapping* file) noexcept : file_(file ? file->control() : nullptr) {}

Expected<FileMapping> Engine::map_file(const FileLocation&, const FileOptions&) {
  return fail({.code = Errc::unsupported,
               .doing = "map file",
               .remedy = "this engine cannot bring pages in from a file"});
}

Expected<FileMapping> map_file(Engine& engine, const std::string& path,
                               const FileOptions& options) {
  return engine.map_file({.path = path}, options);
}

Expected<FileMapping> map_file(Engine& engine, int fd, const FileOptions& options) {
  return engine.map_file({.path = {}, .fd = fd}, options);
}

FileMapping& FileMapping::operator=(FileMapping&& other) noexcept {
  if (this != &other) {
    if (control_ != nullptr) control_->abandon();
    control_ = std::exchange(other.control_, nullptr);
  }
  return *this;
}

FileMapping::~FileMapping() {
  if (control_ != nullptr) control_->abandon();
}

Expected<void> FileMapping::sync(std::uint64_t offset, std::uint64_t bytes) {
  if (control_ == nullptr) return no_mapping("sync file mapping");
  return control_->sync(offset, bytes);
}

Expected<void> FileMapping::commit() {
  if (control_ == nullptr) return no_mapping("commit file mapping");
  return control_->commit();
}

Expected<Transaction> FileMapping::begin() {
  if (control_ == nullptr) return no_mapping("begin transaction");
  TRY_VOID(control_->begin());
  return Transaction(control_);
}

Expected<void> FileMapping::rollback() {
  if (control_ == nullptr) return no_mapping("roll file mapping back");
  return control_->rollback();
}

Expected<void> FileMapping::resize(std::uint64_t bytes) {
  if (control_ == nullptr) return no_mapping("resize file mapping");
  return control_->resize(bytes);
}

Expected<void> FileMapping::advise(std::uint64_t offset, std::uint64_t bytes, Advice advice) {
  if (control_ == nullptr) return no_mapping("advise file mapping");
  return control_->advise(offset, bytes, advice);
}

Expected<std::uint64_t> FileMapping::prefetch(std::uint64_t offset, std::uint64_t bytes) {
  if (control_ == nullptr) return no_mapping("prefetch file mapping");
  return control_->prefetch(offset, bytes);
}

Expected<void> FileMapping::unmap() {
  if (control_ == nullptr) return no_mapping("unmap file");
  auto result = control_->unmap();
  if (result) control_ = nullptr;
  return result;
}

}  // namespace holdfast
