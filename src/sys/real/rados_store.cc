#include "sys/real/rados_store.h"

#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <new>
#include <string>

#include "sync/sync.h"
#include "sys/machine.h"
#include "sys/real/rados_images.h"
#include "sys/real/rados_lease.h"
#include "sys/real/rados_pool.h"
#include "sys/real/real_thread.h"

namespace holdfast::sys::real {
namespace {

std::string owner_text() {
  std::array<char, 65> host{};
  (void)::gethostname(host.data(), host.size() - 1);
  return std::string(program_invocation_short_name) + " on " + host.data() + ", process " +
         std::to_string(::getpid());
}

// librados allocates and takes locks, and a fault handler may do neither: requests go through a
// lock-free list to a thread that hands them to it. Their completions come in its own thread, and
// do what an interrupt may.
class RadosStore final : public ObjectStore {
 public:
  RadosStore(std::unique_ptr<RadosPool> pool, const ObjectStoreOptions& options, std::string id)
      : pool_(std::move(pool)),
        id_(std::move(id)),
        header_(header_of(id_, !options.image.empty())),
        description_("rados, pool " + options.pool),
        lease_ns_(options.lease_ns) {}
  ~RadosStore() override;

  // A new session, or the reading of one that is an image.
  Expected<void> begin();
  Expected<void> begin_reading();

  void submit(ObjectRequest& request) noexcept override;
  bool owns_session() const noexcept override { return !lost_.load(std::memory_order_acquire); }
  const char* description() const noexcept override { return description_.c_str(); }
  Expected<void> publish(const FarImage& image) override;

 private:
  // A request in librados' hands.
  struct Flight {
    RadosStore& store;
    ObjectRequest& request;
  };

  static void main(void* self) { static_cast<RadosStore*>(self)->run(); }
  static void complete(rados_completion_t completion, void* flight);
  static void complete_renewal(rados_completion_t completion, void* self);
  static void answer(ObjectRequest& request, int error) noexcept;

  void run();
  void start(ObjectRequest& request);
  [[nodiscard]] int start_read(ObjectRequest& request, rados_completion_t completion) const;
  [[nodiscard]] int start_write(ObjectRequest& request, rados_completion_t completion) const;
  [[nodiscard]] int refusal(const ObjectRequest& request) const noexcept;
  [[nodiscard]] int outcome(const ObjectRequest& request, int result) noexcept;
  void end_thread() noexcept;
  void leave() noexcept;
  std::uint64_t renew_when_due();
  void renew(std::uint64_t now);
  void landed() noexcept;
  void wake() noexcept;
  [[nodiscard]] std::string name_of(std::uint64_t object) const {
    return object_of(header_, object);
  }

  // --- constant after begin() ---
  const std::unique_ptr<RadosPool> pool_;
  const std::string id_, header_, description_;
  const std::uint64_t lease_ns_;
  std::unique_ptr<Thread> thread_;
  bool reading_ = false;
  // --- atomic ---
  std::atomic<ObjectRequest*> submitted_{nullptr};  // last first
  std::atomic<std::uint32_t> work_{0};              // bumped when the thread has something to do
  std::atomic<std::uint32_t> in_flight_{0};
  std::atomic<bool> stop_{false};
  std::atomic<bool> lost_{false};
  std::atomic<bool> renewing_{false};
  std::atomic<std::uint64_t> renewal_begun_ns_{0};
  std::atomic<std::uint64_t> lease_until_ns_{0};  // the lock is ours until then at least
};

Expected<void> RadosStore::begin() {
  const std::uint64_t now = real_machine().now_ns();
  const RadosWrite write(*pool_);
  begin_session(*pool_, write, id_, owner_text(), lease_ns_);
  const int error = write.run(header_, kEvenIfFull);  // the pool may have room later
  if (error != 0) {
    Error e{.code = Errc::system,
            .os_errno = error,
            .doing = "open far memory",
            .what = "lock of the session",
            .remedy = "the user needs osd caps rwx on the pool"};
    if (error == EPERM || error == EACCES) e.code = Errc::permission;
    if (error == ETIMEDOUT) e.code = Errc::timed_out;
    return fail(e);
  }
  lease_until_ns_.store(now + lease_ns_);
  renewal_begun_ns_.store(now);
  thread_ = TRY(start_real_thread("holdfast-far", &RadosStore::main, this));
  return {};
}

Expected<void> RadosStore::begin_reading() {
  reading_ = true;
  lost_.store(true);  // of the lock there is none to renew
  thread_ = TRY(start_real_thread("holdfast-far", &RadosStore::main, this));
  return {};
}

// Nothing is in flight but perhaps a renewal, which it waits for.
void RadosStore::end_thread() noexcept {
  if (thread_ == nullptr) return;
  stop_.store(true);
  wake();
  thread_->join();
  thread_.reset();
}

// The session stays as it is, and is none of ours any more. Nothing renews its lock.
void RadosStore::leave() noexcept {
  end_thread();
  lost_.store(true);
}

// The lock is held until the name is there: who finds a session of an image without a lock and
// without a name may remove it.
Expected<void> RadosStore::publish(const FarImage& image) {
  const RadosWrite renewal(*pool_);
  renew_session(*pool_, renewal, id_, lease_ns_);
  if (const int error = renewal.run(header_, kEvenIfFull); error != 0) {
    if (error == ETIMEDOUT) leave();
    return fail(publish_error(error == ENOENT || error == ECANCELED ? ESTALE : error));
  }
  FarImage published = image;
  published.session = id_;
  const RadosWrite name(*pool_);
  name_image(*pool_, name, published);
  if (const int error = name.run(name_object(image.name), LIBRADOS_OPERATION_FULL_TRY)) {
    if (error == ETIMEDOUT) leave();
    return fail(publish_error(error));
  }
  leave();
  (void)unlock_session(*pool_, header_, id_);  // it would expire
  return {};
}

RadosStore::~RadosStore() {
  end_thread();
  if (lease_until_ns_.load() == 0 || !owns_session()) return;
  const RadosWrite write(*pool_);
  end_session(*pool_, write, id_);
  (void)write.run(header_, kEvenIfFull);  // a header that stays is found when its lock has expired
}

void RadosStore::wake() noexcept {
  work_.fetch_add(1);
  sync::parking().wake(work_, 1);
}

void RadosStore::submit(ObjectRequest& request) noexcept {
  ObjectRequest* old = submitted_.load(std::memory_order_relaxed);
  do {
    request.next = old;
  } while (!submitted_.compare_exchange_weak(old, &request, std::memory_order_release,
                                             std::memory_order_relaxed));
  wake();
}

void RadosStore::answer(ObjectRequest& request, int error) noexcept {
  const sync::InterruptScope interrupt;
  request.error = error;
  request.done(request);
}

void RadosStore::run() {
  for (;;) {
    const std::uint32_t seen = work_.load();
    ObjectRequest* last = submitted_.exchange(nullptr, std::memory_order_acquire);
    ObjectRequest* first = nullptr;  // in the order of their coming
    while (last != nullptr) {
      ObjectRequest* const before = last->next;
      last->next = first;
      first = last;
      last = before;
    }
    while (first != nullptr) {
      ObjectRequest* const next = first->next;
      start(*first);
      first = next;
    }
    const std::uint64_t rest = renew_when_due();
    if (stop_.load() && in_flight_.load() == 0 && submitted_.load() == nullptr) return;
    sync::parking().wait(work_, seen, rest);
  }
}

void RadosStore::start(ObjectRequest& request) {
  int error = refusal(request);
  if (error != 0) return answer(request, error);
  auto* const flight = new (std::nothrow) Flight{*this, request};
  if (flight == nullptr) return answer(request, ENOMEM);
  rados_completion_t completion = nullptr;
  error = -pool_->api().rados_aio_create_completion2(flight, &RadosStore::complete, &completion);
  if (error == 0) {
    in_flight_.fetch_add(1);
    error = request.action == ObjectAction::read ? start_read(request, completion)
                                                 : start_write(request, completion);
    if (error == 0) return;
    in_flight_.fetch_sub(1);
    pool_->api().rados_aio_release(completion);
  }
  delete flight;
  answer(request, error);
}

// Why it is not begun at all; 0.
int RadosStore::refusal(const ObjectRequest& request) const noexcept {
  if (request.action == ObjectAction::read) return 0;
  if (reading_) return EROFS;
  if (!owns_session()) return ESTALE;
  // Nobody may have taken the lock, but nobody can tell before it is renewed.
  return real_machine().now_ns() < lease_until_ns_.load() ? 0 : ETIMEDOUT;
}

int RadosStore::start_read(ObjectRequest& request, rados_completion_t completion) const {
  return -pool_->api().rados_aio_read(pool_->io(), name_of(request.object).c_str(), completion,
                                      reinterpret_cast<char*>(request.data), request.bytes,
                                      request.offset);
}

int RadosStore::start_write(ObjectRequest& request, rados_completion_t completion) const {
  const RadosWrite write(*pool_);
  if (request.action == ObjectAction::write) {
    pool_->api().rados_write_op_write_full(write.op(), reinterpret_cast<const char*>(request.data),
                                           request.bytes);
  } else {
    pool_->api().rados_write_op_remove(write.op());
  }
  return -pool_->api().rados_aio_write_op_operate(write.op(), pool_->io(), completion,
                                                  name_of(request.object).c_str(), nullptr,
                                                  LIBRADOS_OPERATION_FULL_TRY);
}

int RadosStore::outcome(const ObjectRequest& request, int result) noexcept {
  if (result >= 0) {
    const bool all =
        request.action != ObjectAction::read || static_cast<std::uint64_t>(result) == request.bytes;
    return all ? 0 : EIO;
  }
  if (result == -ESHUTDOWN && request.action != ObjectAction::read) {  // this client is blocklisted
    lost_.store(true, std::memory_order_release);
    return ESTALE;
  }
  return -result;
}

void RadosStore::complete(rados_completion_t completion, void* argument) {
  auto* const flight = static_cast<Flight*>(argument);
  RadosStore& store = flight->store;
  const RadosApi& api = store.pool_->api();
  const int error = store.outcome(flight->request, api.rados_aio_get_return_value(completion));
  ObjectRequest& request = flight->request;
  delete flight;
  answer(request, error);
  api.rados_aio_release(completion);
  store.landed();
}

// The last thing that a completion does with the store, which may go as soon as nothing is in
// flight.
void RadosStore::landed() noexcept {
  const bool last = stop_.load();
  const std::atomic<std::uint32_t>& word = work_;
  work_.fetch_add(1);
  in_flight_.fetch_sub(1);
  if (last) sync::parking().wake(word, 1);
}

// Returns for how long the thread may rest, ns.
std::uint64_t RadosStore::renew_when_due() {
  constexpr std::uint64_t kLook = 1'000'000'000;
  if (stop_.load()) return kLook;
  const std::uint64_t now = real_machine().now_ns();
  const std::uint64_t due = renewal_begun_ns_.load() + lease_ns_ / 4;
  if (!renewing_.load() && owns_session() && now >= due) renew(now);
  return std::min(kLook, lease_ns_ / 8);
}

void RadosStore::renew(std::uint64_t now) {
  const RadosApi& api = pool_->api();
  rados_completion_t completion = nullptr;
  if (api.rados_aio_create_completion2(this, &RadosStore::complete_renewal, &completion) != 0) {
    return;
  }
  renewal_begun_ns_.store(now);
  renewing_.store(true);
  in_flight_.fetch_add(1);
  const RadosWrite write(*pool_);
  renew_session(*pool_, write, id_, lease_ns_);
  if (api.rados_aio_write_op_operate(write.op(), pool_->io(), completion, header_.c_str(), nullptr,
                                     kEvenIfFull) != 0) {
    api.rados_aio_release(completion);
    renewing_.store(false);
    in_flight_.fetch_sub(1);
  }
}

void RadosStore::complete_renewal(rados_completion_t completion, void* argument) {
  const sync::InterruptScope interrupt;
  auto& store = *static_cast<RadosStore*>(argument);
  const RadosApi& api = store.pool_->api();
  const int error = -api.rados_aio_get_return_value(completion);
  if (error == 0) {
    store.lease_until_ns_.store(store.renewal_begun_ns_.load() + store.lease_ns_);
  } else if (error == EBUSY || error == ECANCELED || error == ENOENT || error == ESHUTDOWN) {
    store.lost_.store(true, std::memory_order_release);
  }
  api.rados_aio_release(completion);
  store.renewing_.store(false);
  store.landed();
}

}  // namespace

Expected<std::unique_ptr<ObjectStore>> open_rados_store(const ObjectStoreOptions& options) {
  auto pool = TRY(RadosPool::open(options));
  if (!options.image.empty()) TRY_VOID(check_name_is_free(*pool, options.image));
  const std::string id =
      hexadecimal(real_machine().random_u64()) + hexadecimal(real_machine().random_u64());
  auto store = std::make_unique<RadosStore>(std::move(pool), options, id);
  TRY_VOID(store->begin());
  return std::unique_ptr<ObjectStore>(std::move(store));
}

Expected<OpenedFarImage> open_rados_image(const ObjectStoreOptions& options) {
  auto pool = TRY(RadosPool::open(options));
  OpenedFarImage opened{.image = TRY(find_image(*pool, options.image)), .store = nullptr};
  auto store = std::make_unique<RadosStore>(std::move(pool), options, opened.image.session);
  TRY_VOID(store->begin_reading());
  opened.store = std::move(store);
  return opened;
}

}  // namespace holdfast::sys::real
