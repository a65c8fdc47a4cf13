// What stands in holdfast/aio.h and is not the queue itself.
#include "aio/aio.h"

namespace holdfast {

Expected<std::unique_ptr<Aio>> Aio::create(Engine& engine, const AioOptions& options) {
  return aio::create_on(sys::real_machine(), engine, options);
}

AioFuture& AioFuture::operator=(AioFuture&& other) noexcept {
  if (this != &other) {
    if (aio_ != nullptr) aio_->let_go(ticket_);
    aio_ = std::exchange(other.aio_, nullptr);
    ticket_ = other.ticket_;
  }
  return *this;
}

AioFuture::~AioFuture() {
  if (aio_ != nullptr) aio_->let_go(ticket_);
}

Expected<std::uint64_t> AioFuture::wait(std::uint64_t timeout_ns) {
  if (aio_ != nullptr) return aio_->wait(ticket_, timeout_ns);
  return fail({.code = Errc::invalid_argument,
               .doing = "wait for I/O",
               .what = "future without an operation",
               .remedy = "wait for what Aio::start() gave"});
}

bool AioFuture::ready() const noexcept { return aio_ != nullptr && aio_->is_done(ticket_); }

void AioFuture::cancel() noexcept {
  if (aio_ != nullptr) (void)aio_->cancel(ticket_);
}

// Once the request is accepted the coroutine may go on elsewhere, and *this be gone.
bool AioTransfer::await_suspend(std::coroutine_handle<> waiter) {
  const auto accepted = aio_.submit_for(request_, waiter, result_);
  if (accepted) return true;
  result_ = std::unexpected(accepted.error());
  return false;
}

}  // namespace holdfast
