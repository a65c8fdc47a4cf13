#include "holdfast/ready.h"

#include "base/base.h"

namespace holdfast {

Expected<bool> detail::ReadyControl::begin_ready(ReadyRequest&) {
  return fail({.code = Errc::unsupported,
               .doing = "wait for pages",
               .remedy = "this engine cannot bring pages in without a thread that waits"});
}

// Once the request waits the coroutine may go on elsewhere, and *this be gone.
bool Ready::await_suspend(std::coroutine_handle<> waiter) {
  if (control_ == nullptr) {
    request_.result = fail({.code = Errc::not_mapped,
                            .doing = "wait for pages",
                            .what = "region",
                            .remedy = "the region was unmapped or moved from: map one first"});
    return false;
  }
  request_.waiter = waiter;
  const Expected<bool> waits = control_->begin_ready(request_);
  if (!waits) request_.result = std::unexpected(waits.error());
  return waits && *waits;
}

}  // namespace holdfast
