#include "run/registry.h"

#include <algorithm>

#include "run/client.h"

namespace holdfast::run {

Registry::Registry() = default;
Registry::~Registry() = default;

Registry::Use Registry::add(std::unique_ptr<Client> client) {
  const std::lock_guard lock(mutex_);
  entries_.push_back({std::move(client), 1});
  return {*this, entries_.back().client.get()};
}

std::vector<Registry::Use> Registry::all() {
  const std::lock_guard lock(mutex_);
  std::vector<Use> uses;
  for (Held& held : entries_) {
    if (held.client->life() != Client::Life::running) continue;
    ++held.uses;
    uses.emplace_back(*this, held.client.get());
  }
  return uses;
}

Registry::Use Registry::forked(int pid) {
  const std::lock_guard lock(mutex_);
  for (Held& held : entries_) {
    if (held.client->life() != Client::Life::running || held.client->pid() != pid ||
        held.client->memory().pid() != 0) {
      continue;
    }
    ++held.uses;
    return {*this, held.client.get()};
  }
  return {};
}

void Registry::release(const Client* client) {
  const std::lock_guard lock(mutex_);
  const auto held =
      std::ranges::find_if(entries_, [&](const Held& each) { return each.client.get() == client; });
  HF_CHECK(held != entries_.end() && held->uses > 0);
  --held->uses;
}

std::size_t Registry::sweep() {
  std::vector<std::unique_ptr<Client>> gone;
  std::size_t left = 0;
  {
    const std::lock_guard lock(mutex_);
    for (Held& held : entries_) {
      if (held.uses == 0 && held.client->life() == Client::Life::gone) {
        gone.push_back(std::move(held.client));
      }
    }
    std::erase_if(entries_, [](const Held& held) { return held.client == nullptr; });
    left = entries_.size();
  }
  return left;
}

}  // namespace holdfast::run
