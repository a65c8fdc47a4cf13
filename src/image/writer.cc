#include "image/writer.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "image/save_pipeline.h"

namespace holdfast::image {
namespace {

constexpr std::uint64_t kBufferBytes = 1ull << 20;  // what is handed to the sink at once
constexpr std::uint32_t kThreadsUsual = 8;          // more compress faster than a disk writes

// Collects what is appended into large writes.
class Output {
 public:
  explicit Output(sys::ByteSink& sink) : sink_(sink) { buffer_.reserve(kBufferBytes); }
  [[nodiscard]] std::uint64_t offset() const noexcept { return offset_; }

  Expected<void> append(const void* data, std::uint64_t bytes) {
    const auto* from = static_cast<const std::byte*>(data);
    offset_ += bytes;
    while (bytes > 0) {
      const std::uint64_t part = std::min(bytes, kBufferBytes - buffer_.size());
      buffer_.insert(buffer_.end(), from, from + part);
      from += part;
      bytes -= part;
      if (buffer_.size() == kBufferBytes) TRY_VOID(flush());
    }
    return {};
  }
  Expected<void> flush() {
    if (buffer_.empty()) return {};
    const int error = sink_.append(buffer_.data(), buffer_.size());
    if (error != 0) return fail(sink_.error_of(error, flushed_));
    flushed_ += buffer_.size();
    buffer_.clear();
    return {};
  }

 private:
  sys::ByteSink& sink_;
  std::vector<std::byte> buffer_;
  std::uint64_t offset_ = 0, flushed_ = 0;
};

class ImageWriter final : public RunVisitor {
 public:
  ImageWriter(sys::Machine& machine, RunSource& source, sys::ByteSink& sink,
              const WriteOptions& options);

  Expected<WriteReport> write();

 private:
  bool visit(const PageRun& run) override;
  Expected<void> take(const PageRun& run);
  Expected<void> check(const PageRun& run) const;
  Expected<void> start();
  Expected<void> next_job();
  Expected<void> submit_last();
  Expected<void> collect(SaveJob& job);
  void index_runs(SaveJob& job);
  Expected<void> write_header();
  Expected<void> write_end();

  sys::Machine& machine_;
  RunSource& source_;
  sys::ByteSink& sink_;
  const WriteOptions& options_;
  SaveContext context_;
  SavePipeline pipeline_;
  Output output_;
  SaveJob* job_ = nullptr;  // being filled
  Expected<void> result_;
  std::uint64_t taken_ = 0;  // image pages given to jobs
  std::uint64_t written_ = 0;
  Header header_;
  std::vector<RegionEntry> regions_;
  std::vector<RunEntry> runs_;
  std::vector<GroupEntry> groups_;
  WriteReport report_;
};

std::vector<RegionEntry> regions_of(std::span<const std::uint64_t> sizes) {
  std::vector<RegionEntry> regions;
  std::uint64_t first = 0;
  for (const std::uint64_t bytes : sizes) {
    regions.push_back({first, bytes});
    first += bytes >> kPageShift;
  }
  return regions;
}

std::uint32_t threads_of(sys::Machine& machine, const WriteOptions& options) noexcept {
  if (options.threads != 0) return std::min(options.threads, SavePipeline::kThreadsMax);
  return std::min(machine.cpu_count(), kThreadsUsual);
}

ImageWriter::ImageWriter(sys::Machine& machine, RunSource& source, sys::ByteSink& sink,
                         const WriteOptions& options)
    : machine_(machine),
      source_(source),
      sink_(sink),
      options_(options),
      context_{.source = source, .base = options.base},
      pipeline_(machine, context_, options.encoding, threads_of(machine, options)),
      output_(sink),
      regions_(regions_of(source.regions())) {
  if (options.base != nullptr) context_.base_pages = BasePages(regions_, options.base->regions());
}

Expected<WriteReport> ImageWriter::write() {
  const std::uint64_t begun = machine_.now_ns();
  TRY_VOID(start());
  TRY_VOID(write_header());
  TRY_VOID(source_.for_each_run(*this));
  TRY_VOID(result_);
  TRY_VOID(submit_last());
  TRY_VOID(write_end());
  TRY_VOID(sink_.commit());
  report_.id = header_.id;
  report_.pages = header_.pages;
  report_.bytes = output_.offset();
  report_.nanoseconds = machine_.now_ns() - begun;
  return report_;
}

Expected<void> ImageWriter::start() {
  for (const RegionEntry& region : regions_) {
    if (region.bytes == 0 || !is_page_aligned(region.bytes)) {
      return fail({.code = Errc::invalid_argument,
                   .doing = "write image",
                   .what = "size of a region, bytes",
                   .value = region.bytes,
                   .remedy = "save regions of whole pages"});
    }
    header_.pages += region.bytes >> kPageShift;
  }
  if (regions_.empty()) {
    return fail({.code = Errc::invalid_argument,
                 .doing = "write image",
                 .what = "regions",
                 .remedy = "save at least one region"});
  }
  do {
    header_.id = {machine_.random_u64(), machine_.random_u64()};
  } while (header_.id.is_none());
  header_.regions = static_cast<std::uint32_t>(regions_.size());
  if (options_.base != nullptr) {
    header_.base_id = options_.base->header().id;
    header_.base_index = options_.base->footer().index_checksum;
  }
  header_.checksum = checksum_of(header_);
  return {};
}

Expected<void> ImageWriter::write_header() { return output_.append(&header_, sizeof header_); }

bool ImageWriter::visit(const PageRun& run) {
  result_ = take(run);
  return result_.has_value();
}

Expected<void> ImageWriter::take(const PageRun& run) {
  TRY_VOID(check(run));
  PageRun rest = run;
  while (rest.pages > 0) {
    if (job_ == nullptr) TRY_VOID(next_job());
    const std::uint64_t pages = job_->add(rest);
    rest.first += pages;
    rest.pages -= pages;
    if (rest.kind == PageKind::unchanged) rest.value += pages;
    if (!job_->full()) continue;
    pipeline_.submit();
    job_ = nullptr;
  }
  taken_ += run.pages;
  return {};
}

// A source that says nonsense must not become an image that no reader accepts.
Expected<void> ImageWriter::check(const PageRun& run) const {
  const bool in_order = run.first == taken_ && run.pages <= header_.pages - taken_;
  const bool in_base = run.kind != PageKind::unchanged ||
                       (options_.base != nullptr && run.value <= options_.base->header().pages &&
                        run.pages <= options_.base->header().pages - run.value);
  if (in_order && in_base) return {};
  return fail({.code = Errc::invalid_argument,
               .doing = "write image",
               .what = in_order ? "run that the base image does not have, at page"
                                : "run out of order or beyond the end, at page",
               .value = run.first,
               .limit = header_.pages,
               .remedy = "save memory that holds still, against an image of the same regions"});
}

Expected<void> ImageWriter::next_job() {
  while ((job_ = pipeline_.free_job()) == nullptr) TRY_VOID(collect(*pipeline_.finish()));
  return {};
}

Expected<void> ImageWriter::submit_last() {
  if (taken_ != header_.pages) {
    return fail({.code = Errc::invalid_argument,
                 .doing = "write image",
                 .what = "pages that were told",
                 .value = taken_,
                 .limit = header_.pages,
                 .remedy = "a source tells runs for all of its pages"});
  }
  if (job_ != nullptr) pipeline_.submit();
  job_ = nullptr;
  while (SaveJob* const job = pipeline_.finish()) TRY_VOID(collect(*job));
  return {};
}

// Appends what a job has made, and enters it in the index.
Expected<void> ImageWriter::collect(SaveJob& job) {
  TRY_VOID(job.result());
  index_runs(job);
  for (GroupEntry group : job.groups()) {
    group.offset += output_.offset();
    report_.data_pages += group.pages;
    groups_.push_back(group);
  }
  TRY_VOID(output_.append(job.records().data(), job.records().size()));
  written_ += job.pages();
  if (options_.progress != nullptr &&
      !options_.progress->written(written_, header_.pages, output_.offset())) {
    return fail({.code = Errc::cancelled, .doing = "write image"});
  }
  return {};
}

void ImageWriter::index_runs(SaveJob& job) {
  for (RunEntry run : job.runs()) {
    if (run.kind == PageKind::data) run.value += groups_.size();
    if (run.kind == PageKind::filled) report_.filled_pages += run.pages;
    if (run.kind == PageKind::unchanged) report_.unchanged_pages += run.pages;
    if (!runs_.empty() && continues(runs_.back(), run)) {
      runs_.back().pages += run.pages;
    } else {
      runs_.push_back(run);
    }
  }
}

template <class Entry>
void put_table(std::vector<std::byte>& index, std::span<const Entry> entries) {
  const auto bytes = std::as_bytes(entries);
  index.insert(index.end(), bytes.begin(), bytes.end());
}

Expected<void> ImageWriter::write_end() {
  const IndexHead head{.header = header_.checksum,
                       .regions = regions_.size(),
                       .runs = runs_.size(),
                       .groups = groups_.size()};
  std::vector<std::byte> index;
  index.reserve(sizeof head + regions_.size() * sizeof(RegionEntry) +
                runs_.size() * sizeof(RunEntry) + groups_.size() * sizeof(GroupEntry));
  put_table(index, std::span(&head, 1));
  put_table(index, std::span<const RegionEntry>(regions_));
  put_table(index, std::span<const RunEntry>(runs_));
  put_table(index, std::span<const GroupEntry>(groups_));
  Footer footer;
  footer.id = header_.id;
  footer.index_offset = output_.offset();
  footer.index_bytes = index.size();
  footer.file_bytes = footer.index_offset + footer.index_bytes + sizeof footer;
  footer.data_pages = report_.data_pages;
  footer.index_checksum = base::hash_bytes(index.data(), index.size());
  footer.checksum = checksum_of(footer);
  report_.index_checksum = footer.index_checksum;
  TRY_VOID(output_.append(index.data(), index.size()));
  TRY_VOID(output_.append(&footer, sizeof footer));
  return output_.flush();
}

}  // namespace

Expected<WriteReport> write_image(sys::Machine& machine, RunSource& source, sys::ByteSink& sink,
                                  const WriteOptions& options) {
  ImageWriter writer(machine, source, sink, options);
  return writer.write();
}

}  // namespace holdfast::image
