// pmap `remap`: in by UFFDIO_COPY and UFFDIO_MOVE, out by mremap(MREMAP_DONTUNMAP).
#include <cerrno>
#include <utility>

#include "pmap/pmap.h"
#include "sync/sync.h"

namespace holdfast::pmap {
namespace {

// EAGAIN without progress means that the address space is changing under the call. The source
// retries on its own; when it gives up we let others run this many times before we report it.
constexpr int kAgainMax = 64;

class RemapPmap final : public Pmap {
 public:
  RemapPmap(sys::Machine& machine, std::unique_ptr<sys::FaultSource> source) noexcept
      : machine_(machine), source_(std::move(source)) {}

  int attach(Address address, std::uint64_t bytes) noexcept override {
    return source_->register_range(address, bytes);
  }
  int detach(Address address, std::uint64_t bytes) noexcept override {
    return source_->unregister_range(address, bytes);
  }

  Entered enter_copy(Address to, const std::byte* from, std::uint32_t pages,
                     sys::Protection protection) noexcept override {
    return repeat(pages, [&](std::uint64_t done, std::uint64_t left) noexcept {
      return source_->copy(to + done, from + done, left, protection);
    });
  }

  Entered enter_move(Address to, Address from, std::uint32_t pages) noexcept override {
    HF_DCHECK(source_->can_move());
    return repeat(pages, [&](std::uint64_t done, std::uint64_t left) noexcept {
      return source_->move(to + done, from + done, left);
    });
  }

  [[nodiscard]] bool can_move() const noexcept override { return source_->can_move(); }

  int remove(Address to, Address from, std::uint64_t bytes) noexcept override {
    return machine_.remap_out(to, from, bytes);
  }
  int protect(Address address, std::uint64_t bytes, sys::Protection protection) noexcept override {
    int error = EAGAIN;
    for (int again = 0; error == EAGAIN && again <= kAgainMax; ++again) {
      if (again > 0) sync::parking().relax();
      error = source_->protect(address, bytes, protection);
    }
    return error;
  }
  [[nodiscard]] bool can_protect() const noexcept override { return source_->can_protect(); }
  int drop(Address address, std::uint64_t bytes) noexcept override {
    return machine_.discard(address, bytes);
  }
  void wake(Address address) noexcept override {
    source_->wake(address & ~(kPageSize - 1), kPageSize);
  }
  [[nodiscard]] std::string description() const override {
    return std::string("remap, ") + source_->description();
  }

 private:
  template <class Step>
  Entered repeat(std::uint32_t pages, Step step) noexcept {
    const std::uint64_t bytes = std::uint64_t{pages} << kPageShift;
    std::uint64_t done = 0;
    for (int again = 0; done < bytes;) {
      const sys::Transfer transfer = step(done, bytes - done);
      HF_DCHECK2(is_page_aligned(transfer.done) && done + transfer.done <= bytes, done,
                 transfer.done);
      done += transfer.done;
      if (transfer.error == 0) continue;
      const bool progress = transfer.done != 0;
      if (transfer.error != EAGAIN || (!progress && ++again > kAgainMax)) {
        return {static_cast<std::uint32_t>(done >> kPageShift), transfer.error};
      }
      sync::parking().relax();
    }
    return {pages, 0};
  }

  sys::Machine& machine_;
  std::unique_ptr<sys::FaultSource> source_;  // never null
};

}  // namespace

Expected<std::unique_ptr<Pmap>> create_remap(sys::Machine& machine,
                                             const sys::FaultSourceOptions& options,
                                             sys::FaultSink& sink) {
  auto source = TRY(machine.open_faults(options, sink));
  return std::make_unique<RemapPmap>(machine, std::move(source));
}

}  // namespace holdfast::pmap
