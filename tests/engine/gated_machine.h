// A machine whose swap file can be held up: what is written to it stays on its way until the test
// lets it go. All else is the machine's below, real or simulated.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <utility>

#include "sys/sys.h"

namespace holdfast::engine::test {

// While it is shut, whoever comes waits. `pause` lets others run meanwhile.
class Gate {
 public:
  explicit Gate(std::function<void()> pause) : pause_(std::move(pause)) {}
  void shut() noexcept { shut_ = true; }
  void open() noexcept { shut_ = false; }
  void pass() noexcept {
    if (!shut_) return;
    ++waiting_;
    while (shut_) pause_();
    --waiting_;
  }
  [[nodiscard]] bool is_somebody_waiting() const noexcept { return waiting_ != 0; }

 private:
  const std::function<void()> pause_;
  std::atomic<bool> shut_{false};
  std::atomic<int> waiting_{0};
};

class GatedFile final : public sys::SwapFile {
 public:
  GatedFile(std::unique_ptr<sys::SwapFile> file, Gate& gate)
      : file_(std::move(file)), gate_(gate) {}
  void read(std::span<sys::IoRequest> requests) noexcept override { file_->read(requests); }
  void write(std::span<sys::IoRequest> requests) noexcept override {
    gate_.pass();
    file_->write(requests);
  }
  int punch(std::uint64_t offset, std::uint64_t bytes) noexcept override {
    return file_->punch(offset, bytes);
  }
  [[nodiscard]] std::uint32_t block_bytes() const noexcept override { return file_->block_bytes(); }
  [[nodiscard]] const char* description() const noexcept override { return file_->description(); }

 private:
  const std::unique_ptr<sys::SwapFile> file_;
  Gate& gate_;
};

class GatedMachine final : public sys::Machine {
 public:
  GatedMachine(sys::Machine& below, Gate& gate) : below_(below), gate_(gate) {}

  [[nodiscard]] Expected<std::unique_ptr<sys::SwapFile>> create_swap_file(
      const sys::SwapFileOptions& options) override {
    auto file = below_.create_swap_file(options);
    if (!file) return file;
    return std::make_unique<GatedFile>(std::move(*file), gate_);
  }

  [[nodiscard]] Expected<Address> reserve(std::uint64_t bytes, std::uint64_t align,
                                          sys::Purpose purpose) noexcept override {
    return below_.reserve(bytes, align, purpose);
  }
  int release(Address address, std::uint64_t bytes) noexcept override {
    return below_.release(address, bytes);
  }
  int discard(Address address, std::uint64_t bytes) noexcept override {
    return below_.discard(address, bytes);
  }
  void populate(Address address, std::uint64_t bytes) noexcept override {
    below_.populate(address, bytes);
  }
  int remap_out(Address to, Address from, std::uint64_t bytes) noexcept override {
    return below_.remap_out(to, from, bytes);
  }
  [[nodiscard]] std::byte* view(Address address) noexcept override { return below_.view(address); }
  [[nodiscard]] Expected<std::unique_ptr<sys::FaultSource>> open_faults(
      const sys::FaultSourceOptions& options, sys::FaultSink& sink) override {
    return below_.open_faults(options, sink);
  }
  [[nodiscard]] Expected<std::unique_ptr<sys::AsyncIo>> open_async_io(
      const sys::AsyncIoOptions& options) override {
    return below_.open_async_io(options);
  }
  [[nodiscard]] Expected<std::unique_ptr<sys::Thread>> start_thread(const char* name,
                                                                    void (*function)(void*),
                                                                    void* argument) override {
    return below_.start_thread(name, function, argument);
  }
  [[nodiscard]] std::uint64_t now_ns() noexcept override { return below_.now_ns(); }
  [[nodiscard]] std::uint32_t current_cpu() noexcept override { return below_.current_cpu(); }
  [[nodiscard]] std::uint32_t cpu_count() const noexcept override { return below_.cpu_count(); }
  [[nodiscard]] std::uint64_t random_u64() noexcept override { return below_.random_u64(); }
  [[nodiscard]] std::uint64_t memory_bytes() const noexcept override {
    return below_.memory_bytes();
  }
  [[nodiscard]] std::uint64_t resident_bytes() noexcept override { return below_.resident_bytes(); }
  void print_line(const char* line) noexcept override { below_.print_line(line); }

 private:
  sys::Machine& below_;
  Gate& gate_;
};

}  // namespace holdfast::engine::test
