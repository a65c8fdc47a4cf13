// What a public FileMapping stands for: a view of a mapped file, with what it has seen of errors.
#pragma once

#include "engine/mapped_file.h"
#include "engine/paging_engine.h"
#include "holdfast/file.h"

namespace holdfast::engine {

class FileHandle final : public detail::FileControl {
 public:
  FileHandle(PagingEngine& engine, MappedFile& file, std::uint64_t offset,
             std::uint64_t bytes) noexcept
      : engine_(engine),
        file_(file),
        offset_(offset),
        bytes_(bytes),
        seen_(file.source().errors().now()) {}

  Expected<void> sync(std::uint64_t offset, std::uint64_t bytes) override;
  Expected<void> commit() override;
  Expected<void> begin() override;
  void end() noexcept override { file_.changing().leave(); }
  Expected<void> rollback() override;
  Expected<void> resize(std::uint64_t bytes) override;
  Expected<void> advise(std::uint64_t offset, std::uint64_t bytes, Advice advice) override;
  Expected<std::uint64_t> prefetch(std::uint64_t offset, std::uint64_t bytes) override;
  Expected<bool> begin_ready(detail::ReadyRequest& request) override;
  Expected<void> unmap() override;
  void abandon() noexcept override;
  [[nodiscard]] std::byte* data() const noexcept override {
    return reinterpret_cast<std::byte*>(file_.record().base + offset_);
  }
  [[nodiscard]] std::uint64_t size() const noexcept override {
    return bytes_.load(std::memory_order_acquire);
  }
  [[nodiscard]] const void* engine() const noexcept override { return &engine_; }
  [[nodiscard]] MappedFile& file() noexcept { return file_; }

 private:
  Expected<void> check(const char* doing, std::uint64_t offset, std::uint64_t bytes) const;
  Expected<void> check_writable(const char* doing) const;
  Expected<void> check_commits(const char* doing) const;
  Expected<void> told(Expected<void> result, const char* doing);

  PagingEngine& engine_;
  MappedFile& file_;
  const std::uint64_t offset_;  // in the file
  std::atomic<std::uint64_t> bytes_;
  std::atomic<file::FileErrors::Seen> seen_;
};

}  // namespace holdfast::engine
