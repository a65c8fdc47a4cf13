#include "sys/real/fault_source.h"

#include <sys/mman.h>

#include <cerrno>
#include <cstdio>
#include <new>

#include "sys/real/fork_guard.h"
#include "sys/real/handler_thread.h"
#include "sys/real/sigbus_router.h"
#include "sys/real/userfault.h"

namespace holdfast::sys::real {
namespace {

const char* name_of(UserfaultDoor door) noexcept {
  switch (door) {
    case UserfaultDoor::device:
      return "/dev/userfaultfd";
    case UserfaultDoor::system_call:
      return "userfaultfd()";
    case UserfaultDoor::system_call_user_mode:
      return "userfaultfd() for user mode only";
  }
  return "";
}

class UserfaultSource final : public FaultSource {
 public:
  UserfaultSource(const FaultSourceOptions& options, FaultSink& sink) noexcept
      : options_(options), sink_(sink) {}
  ~UserfaultSource() override {
    if (routed_) remove_sink(sink_);
    handler_.reset();
  }

  Expected<void> open() {
    TRY_VOID(userfault_.open(options_.delivery));
    if (const int error = install_fork_guard(); error != 0) {
      return fail({.code = Errc::system, .os_errno = error, .doing = "install fork handler"});
    }
    std::snprintf(description_, sizeof(description_), "%s, %s", name_of(userfault_.door()),
                  can_move() ? "MOVE" : "COPY");
    return options_.delivery == Delivery::signal ? open_signal() : open_thread();
  }

  int register_range(Address address, std::uint64_t bytes) noexcept override {
    HF_DCHECK2(is_page_aligned(address) && is_page_aligned(bytes) && bytes != 0, address, bytes);
    const int error = userfault_.register_range(address, bytes);
    if (error != 0) return error;
    // A fork would share the pages with the child, and MOVE then refuses them until each has been
    // written to again (EBUSY): regions are not inherited, by whatever way the range was made.
    ::madvise(reinterpret_cast<void*>(address), bytes, MADV_DONTFORK);
    guard_range(address, bytes);
    return 0;
  }

  int unregister_range(Address address, std::uint64_t bytes) noexcept override {
    HF_DCHECK2(is_page_aligned(address) && is_page_aligned(bytes) && bytes != 0, address, bytes);
    const int error = userfault_.unregister(address, bytes);
    if (error == 0) unguard_range(address, bytes);
    return error;
  }

  Transfer copy(Address to, const std::byte* from, std::uint64_t bytes,
                Protection protection) noexcept override {
    HF_DCHECK2(is_page_aligned(to), to, bytes);
    if (protection == Protection::read_only && !can_protect()) {
      return {.done = 0, .error = EOPNOTSUPP};
    }
    return userfault_.copy(to, from, bytes, protection);
  }

  int protect(Address address, std::uint64_t bytes, Protection protection) noexcept override {
    HF_DCHECK2(is_page_aligned(address) && is_page_aligned(bytes) && bytes != 0, address, bytes);
    return userfault_.protect(address, bytes, protection);
  }

  bool can_protect() const noexcept override { return userfault_.has(kFeatureWriteProtect); }

  Transfer move(Address to, Address from, std::uint64_t bytes) noexcept override {
    HF_DCHECK2(is_page_aligned(to) && is_page_aligned(from), to, from);
    if (!can_move()) return {.done = 0, .error = EOPNOTSUPP};
    return userfault_.move(to, from, bytes);
  }

  bool can_move() const noexcept override {
    return options_.allow_move && userfault_.has(kFeatureMove);
  }

  void wake(Address address, std::uint64_t bytes) noexcept override {
    if (options_.delivery == Delivery::thread) userfault_.wake(address, bytes);
  }

  const char* description() const noexcept override { return description_; }

 private:
  Expected<void> open_signal() noexcept {
    const int error = add_sink(sink_);
    routed_ = error == 0;
    if (routed_) return {};
    return fail({.code = Errc::system,
                 .os_errno = error,
                 .doing = "install SIGBUS handler",
                 .limit = kSinksMax,
                 .remedy = "close an engine, or take delivery by thread"});
  }

  Expected<void> open_thread() {
    handler_.reset(new (std::nothrow) HandlerThread(userfault_, sink_, options_.far_threads));
    if (!handler_) return fail({.code = Errc::out_of_memory, .doing = "start fault handler"});
    return handler_->start();
  }

  const FaultSourceOptions options_;
  FaultSink& sink_;
  Userfault userfault_;                     // closed last: the handler thread reads it
  std::unique_ptr<HandlerThread> handler_;  // thread delivery only
  bool routed_ = false;                     // signal delivery: the sink is with the router
  char description_[64] = "";
};

}  // namespace

Expected<std::unique_ptr<FaultSource>> open_fault_source(const FaultSourceOptions& options,
                                                         FaultSink& sink) {
  std::unique_ptr<UserfaultSource> source(new (std::nothrow) UserfaultSource(options, sink));
  if (!source) return fail({.code = Errc::out_of_memory, .doing = "open faults"});
  TRY_VOID(source->open());
  return std::unique_ptr<FaultSource>(std::move(source));
}

}  // namespace holdfast::sys::real
