#include "engine/paging_engine.h"

#include <utility>

#include "engine/engine_on.h"
#include "engine/image_handle.h"
#include "engine/region_handle.h"

namespace holdfast {

Expected<std::unique_ptr<Engine>> Engine::create(const Options& options) {
  return engine::create_on(sys::real_machine(), options);
}

}  // namespace holdfast

namespace holdfast::engine {
namespace {

constexpr std::uint64_t kRegionBytesMax = std::uint64_t{1} << 46;  // half of the address space

}  // namespace

Expected<std::unique_ptr<Engine>> create_on(sys::Machine& machine, const Options& options) {
  return TRY(PagingEngine::create(machine, options));
}

Expected<std::unique_ptr<PagingEngine>> PagingEngine::create(sys::Machine& machine,
                                                             const Options& options) {
  TRY_VOID(sync::check_task_context("create engine"));
  const Plan plan = TRY(plan_for(machine, options));
  std::unique_ptr<PagingEngine> engine(new PagingEngine(machine, options));
  TRY_VOID(engine->build(plan));
  return engine;
}

Expected<void> PagingEngine::build(const Plan& plan) {
  pool_ = TRY(page::FramePool::create(machine_, plan.pool));
  lru_.emplace(*pool_);
  swap_ = TRY(swap::Swap::create(machine_, *pool_, plan.swap));
  regions_.emplace(machine_);
  TRY_VOID(regions_->start());
  staging_.emplace(machine_);
  TRY_VOID(staging_->start());
  if (swap_->has_far_tier()) {
    far_rooms_.emplace(machine_);
    TRY_VOID(far_rooms_->start());
  }
  TRY_VOID(clean_.start(machine_, pool_->pages().size()));
  parts_.emplace(space::Parts{.machine = machine_,
                              .pool = *pool_,
                              .lru = *lru_,
                              .swap = *swap_,
                              .counters = counters_,
                              .regions = *regions_,
                              .staging = *staging_,
                              .clean = clean_,
                              .far_rooms = far_rooms_ ? &*far_rooms_ : nullptr,
                              .window_pages = plan.cache.window_pages});
  space_.emplace(*parts_);
  pmap_ = TRY(pmap::create_remap(machine_, plan.faults, *space_));
  cache_ = TRY(cache::SwapCache::create(machine_, *pool_, *pmap_, plan.cache));
  parts_->pmap = pmap_.get();
  parts_->cache = cache_.get();
  parts_->errors = {.report = &PagingEngine::report, .context = this};
  reclaimer_.emplace(*parts_, *space_, options_.write_back.enabled ? &files_ : nullptr);
  parts_->relief = &*reclaimer_;
  parts_->reclaimer = &*reclaimer_;
  pool_->set_pressure_sink(&*reclaimer_);
  ready_.emplace(machine_, *space_);
  if (options_.background_reclaim) TRY_VOID(reclaimer_->start());
  return {};
}

PagingEngine::~PagingEngine() {
  HF_CHECK(!sync::in_interrupt());  // a destructor cannot refuse
  if (!reclaimer_) return;
  files_.end();
  ready_->stop();
  reclaimer_->stop();
  reclaimer_->settle();
  pmap_.reset();
}

bool PagingEngine::report(const Error& error, Address address, void* self) noexcept {
  const Options& options = static_cast<PagingEngine*>(self)->options_;
  return options.on_error != nullptr &&
         options.on_error(error, address, options.on_error_context) == OnError::retry;
}

Error PagingEngine::refused_in_interrupt(const char* doing) noexcept {
  counters_.add(space::Count::refused_interrupt);
  return sync::wrong_context(doing);
}

// With nothing left that could leave, new memory is refused first: what is there goes on working.
Expected<void> PagingEngine::refuse_under_pressure(const char* doing, std::uint64_t bytes) {
  if (!reclaimer_->stalled() || reclaimer_->relieve(1, page::Priority::fresh)) return {};
  counters_.add(space::Count::refused_memory);
  return fail(
      {.code = Errc::out_of_memory,
       .doing = doing,
       .what = "memory is full and nothing can be written out; bytes",
       .value = bytes,
       .limit = 0,
       .remedy = "unmap or unpin memory, raise memory_budget, or add a swap tier with room"});
}

Expected<Region> PagingEngine::map_anonymous(std::uint64_t bytes, std::uint64_t capacity) {
  return map_region("map region", bytes, capacity, {});
}

Expected<Region> PagingEngine::restore(const Image& image, const RestoreOptions& options) {
  constexpr const char* kDoing = "restore image";
  if (sync::in_interrupt()) return fail(refused_in_interrupt(kDoing));
  const auto regions = image.control()->reader().regions();
  if (options.region >= regions.size()) {
    return fail({.code = Errc::invalid_argument,
                 .doing = kDoing,
                 .what = "region",
                 .value = options.region,
                 .limit = regions.size() - 1,
                 .remedy = "Image::info() says what regions there are"});
  }
  return map_region(kDoing, regions[options.region].bytes, options.capacity,
                    image.control()->source_of(options.region));
}

Expected<FileMapping> PagingEngine::map_file(const FileLocation& where,
                                             const FileOptions& options) {
  if (sync::in_interrupt()) return fail(refused_in_interrupt("map file"));
  const sync::EngineScope scope;
  return files_.map(*this, where, options);
}

Expected<void> PagingEngine::check_region(const char* doing, std::uint64_t bytes,
                                          std::uint64_t capacity) {
  if (bytes == 0 || bytes > kRegionBytesMax || capacity > kRegionBytesMax ||
      (capacity != 0 && capacity < bytes)) {
    return fail({.code = Errc::invalid_argument,
                 .doing = doing,
                 .what = capacity > bytes ? "capacity" : "bytes",
                 .value = capacity > bytes ? capacity : bytes,
                 .limit = capacity != 0 && capacity < bytes ? capacity : kRegionBytesMax,
                 .remedy = "give 1 byte to 64 TiB, and a capacity of at least as much"});
  }
  return refuse_under_pressure(doing, bytes);
}

Expected<Region> PagingEngine::map_region(const char* doing, std::uint64_t bytes,
                                          std::uint64_t capacity, object::SourceRef source) {
  if (sync::in_interrupt()) return fail(refused_in_interrupt(doing));
  const sync::EngineScope scope;
  TRY_VOID(check_region(doing, bytes, capacity));
  space::RegionRecord* record = TRY(space_->map(
      pages_for(bytes), pages_for(capacity == 0 ? bytes : capacity), std::move(source)));
  return Region(new RegionHandle(*this, *record));
}

Expected<Pin> PagingEngine::pin(const void* address, std::size_t length, Access access,
                                PinAccountId account) {
  return pin_on(address, length, {.access = access, .account = account});
}

Expected<Pin> PagingEngine::try_pin(const void* address, std::size_t length, Access access,
                                    PinAccountId account) {
  return pin_on(address, length, {.access = access, .account = account, .may_fault = false});
}

Expected<Pin> PagingEngine::pin_on(const void* address, std::size_t length,
                                   const space::PinTerms& terms) {
  const auto first = reinterpret_cast<Address>(address);
  const auto page = space_->pin(first, length, terms);
  if (!page) return std::unexpected(page.error());
  const Address last = first + (length == 0 ? 0 : length - 1);
  return Pin(&*space_, {.first_page = first & ~(kPageSize - 1),
                        .pages = (last >> kPageShift) - (first >> kPageShift) + 1,
                        .page = *page,
                        .account = terms.account});
}

Expected<PinAccountId> PagingEngine::open_pin_account(const char* name, std::uint64_t limit_pages) {
  if (sync::in_interrupt()) return fail(refused_in_interrupt("open pin account"));
  return space_->accounts().open(name, limit_pages);
}

Expected<void> PagingEngine::close_pin_account(PinAccountId account) {
  if (sync::in_interrupt()) return fail(refused_in_interrupt("close pin account"));
  return space_->accounts().close(account);
}

bool PagingEngine::owns(const void* address) const noexcept {
  return space_->owns(reinterpret_cast<Address>(address));
}

std::uint64_t PagingEngine::reclaim(std::uint64_t pages) {
  if (sync::in_interrupt()) {
    (void)refused_in_interrupt("reclaim");
    return 0;
  }
  const sync::EngineScope scope;
  return reclaimer_->reclaim(pages);
}

bool PagingEngine::defer(void (*fn)(void*) noexcept, void* argument) noexcept {
  return reclaimer_->defer(fn, argument);
}

// Where frames are short, more are freed; where there are enough but not side by side, pages leave
// until neighbours meet.
bool PagingEngine::make_room_for_block(unsigned order, int tries) noexcept {
  const std::uint32_t wanted = 2U << order;
  if (pool_->free_count() > pool_->kept_from(page::Priority::fresh) + std::uint64_t{wanted}) {
    return reclaimer_->reclaim(std::uint64_t{wanted} << 2 * tries) > 0;
  }
  return reclaimer_->relieve(wanted, page::Priority::fresh);
}

Expected<std::byte*> PagingEngine::allocate_pages(unsigned order) {
  if (sync::in_interrupt()) return fail(refused_in_interrupt("allocate pages"));
  if (order > page::kMaxOrder) {
    return fail({.code = Errc::invalid_argument,
                 .doing = "allocate pages",
                 .what = "order",
                 .value = order,
                 .limit = page::kMaxOrder,
                 .remedy = "map a region for more"});
  }
  const sync::EngineScope scope;
  constexpr int kTries = 8;  // each makes room for a block; others may take it
  for (int tries = 0;; ++tries) {
    const auto head = pool_->allocate_block(order, page::Priority::fresh);
    if (head) return reinterpret_cast<std::byte*>(pool_->address_of(**head));
    if (tries == kTries || !make_room_for_block(order, tries)) {
      counters_.add(space::Count::refused_memory);
      return std::unexpected(head.error());
    }
  }
}

void PagingEngine::free_pages(std::byte* pages, unsigned order) noexcept {
  pool_->free_pages(pool_->page_at_home(reinterpret_cast<Address>(pages)), order);
}

void PagingEngine::dump_holders(const void* address) {
  if (sync::in_interrupt()) {
    (void)refused_in_interrupt("dump holders");
    return;
  }
  const page::Page* page = space_->resident_page(reinterpret_cast<Address>(address));
  if (page == nullptr) {
    machine_.print_line("holdfast: no resident page at that address");
    return;
  }
  pool_->dump_holders(*page);
}

bool PagingEngine::check_all() {
  if (sync::in_interrupt()) {
    (void)refused_in_interrupt("check");
    return false;
  }
  space_->come_to_rest();
  reclaimer_->pause();
  reclaimer_->settle();
  const bool good = check_parts();
  reclaimer_->resume();
  return good;
}

bool PagingEngine::check_parts() {
  const sync::EngineScope scope;
  if (!pool_->check() || !lru_->check() || !cache_->check() || !space_->check() ||
      !swap_->check()) {
    return false;
  }
  // Every page that the VM knows is on one of its lists, and nothing else is.
  for (const page::Page& page : pool_->pages()) {
    const page::PageState state = page.state();
    const bool known = state == page::PageState::resident || state == page::PageState::cached ||
                       state == page::PageState::orphan;
    if (known == (page.lru_list() != page::LruList::none)) continue;
    machine_.print_line("holdfast: check: the LRU lists do not hold exactly the pages of the VM");
    pool_->dump_holders(page);
    return false;
  }
  return true;
}

std::string PagingEngine::description() const {
  if (sync::in_interrupt()) return {};
  return pmap_->description() +
         (options_.delivery == FaultDelivery::signal ? ", signal delivery" : ", thread delivery");
}

}  // namespace holdfast::engine
