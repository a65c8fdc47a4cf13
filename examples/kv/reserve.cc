#include "reserve.h"

#include <algorithm>

namespace kv {
namespace {
constexpr std::chrono::milliseconds kBetweenTries(100);
constexpr std::uint64_t kPage = 4096;
}  // namespace

Reserve::Reserve(std::uint64_t bytes)
    : wanted_(std::clamp<std::uint64_t>(bytes / (kPage << kOrder), 1, kBlocksMost)) {}

Reserve::~Reserve() { detach(); }

holdfast::OnError Reserve::on_error(const holdfast::Error& error, std::uintptr_t,
                                    void* context) noexcept {
  const bool lack =
      error.code == holdfast::Errc::out_of_memory || error.code == holdfast::Errc::swap_full;
  const bool mended = lack && static_cast<Reserve*>(context)->give();
  return mended ? holdfast::OnError::retry : holdfast::OnError::terminate;
}

holdfast::Expected<void> Reserve::attach(holdfast::Engine& engine) {
  engine_ = &engine;
  if (fill()) return {};
  return holdfast::fail({.code = holdfast::Errc::out_of_memory,
                         .doing = "keep memory aside",
                         .what = "pages",
                         .value = wanted_ << kOrder,
                         .remedy = "give more --memory"});
}

void Reserve::detach() {
  give();
  engine_ = nullptr;
}

bool Reserve::give() noexcept {
  spent_ = true;
  bool given = false;
  for (auto& block : blocks_) {
    std::byte* const pages = block.exchange(nullptr);
    if (pages == nullptr) continue;
    engine_.load()->free_pages(pages, kOrder);
    given = true;
  }
  return given;
}

bool Reserve::is_spent() {
  if (!spent_) return false;
  const auto now = std::chrono::steady_clock::now();
  if (now - tried_ < kBetweenTries) return true;
  tried_ = now;
  return !fill();
}

bool Reserve::fill() {
  spent_ = false;
  for (std::size_t i = 0; i < wanted_; ++i) {
    if (blocks_[i] != nullptr) continue;
    const auto pages = engine_.load()->allocate_pages(kOrder);
    if (!pages) {
      give();
      return false;
    }
    blocks_[i] = *pages;
  }
  return !spent_;
}

}  // namespace kv
