// All clients of a run. Whoever works on one holds it in use meanwhile; one that is gone and in use
// by nobody is taken away by sweep().
#pragma once

#include <memory>
#include <mutex>
#include <utility>
#include <vector>

namespace holdfast::run {

class Client;

class Registry {
 public:
  Registry();
  ~Registry();
  Registry(const Registry&) = delete;
  Registry& operator=(const Registry&) = delete;

  // Holds a client in use; null: there is none.
  class Use {
   public:
    Use() noexcept = default;
    Use(Registry& registry, Client* client) noexcept : registry_(&registry), client_(client) {}
    Use(Use&& other) noexcept
        : registry_(other.registry_), client_(std::exchange(other.client_, nullptr)) {}
    Use& operator=(Use&& other) noexcept {
      std::swap(registry_, other.registry_);
      std::swap(client_, other.client_);
      return *this;
    }
    ~Use() {
      if (client_ != nullptr) registry_->release(client_);
    }
    Client* operator->() const noexcept { return client_; }
    Client& operator*() const noexcept { return *client_; }
    explicit operator bool() const noexcept { return client_ != nullptr; }

   private:
    Registry* registry_ = nullptr;
    Client* client_ = nullptr;
  };

  // The new one, in use.
  Use add(std::unique_ptr<Client> client);
  // All that live, each in use.
  [[nodiscard]] std::vector<Use> all();
  // The living client of this process whose helper has not come yet; or none.
  [[nodiscard]] Use forked(int pid);
  // Destroys those that are gone. How many are left.
  std::size_t sweep();

 private:
  struct Held {
    std::unique_ptr<Client> client;
    int uses;
  };
  void release(const Client* client);

  std::mutex mutex_;
  std::vector<Held> entries_;
};

}  // namespace holdfast::run
