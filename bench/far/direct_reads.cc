#include "far/direct_reads.h"

#include <dlfcn.h>
#include <fmt/format.h>
#include <sys/types.h>

#include <cstring>
#include <vector>

#include "scene.h"
#include "workload.h"

namespace holdfast::bench {
namespace {

// What we call of librados, by its documented C interface; loaded, as its header may be missing.
struct Librados {
  int (*create)(void** cluster, const char* user);
  int (*conf_read_file)(void* cluster, const char* path);
  int (*connect)(void* cluster);
  int (*ioctx_create)(void* cluster, const char* pool, void** io);
  void (*set_namespace)(void* io, const char* name);
  int (*write_full)(void* io, const char* object, const char* data, std::size_t bytes);
  int (*read)(void* io, const char* object, char* data, std::size_t bytes, std::uint64_t offset);
  int (*remove)(void* io, const char* object);
  void (*ioctx_destroy)(void* io);
  void (*shutdown)(void* cluster);

  // False: it is not installed.
  bool load() {
    void* const library = dlopen("librados.so.2", RTLD_NOW | RTLD_LOCAL);
    if (library == nullptr) return false;
    const auto find = [library](auto& call, const char* name) {
      call = reinterpret_cast<std::remove_reference_t<decltype(call)>>(dlsym(library, name));
      return call != nullptr;
    };
    return find(create, "rados_create") && find(conf_read_file, "rados_conf_read_file") &&
           find(connect, "rados_connect") && find(ioctx_create, "rados_ioctx_create") &&
           find(set_namespace, "rados_ioctx_set_namespace") &&
           find(write_full, "rados_write_full") && find(read, "rados_read") &&
           find(remove, "rados_remove") && find(ioctx_destroy, "rados_ioctx_destroy") &&
           find(shutdown, "rados_shutdown");
  }
};

class DirectReads final : public Worker {
 public:
  explicit DirectReads(const DirectReadsJob& job) : job_(job), random_(kSideSeed) {}
  ~DirectReads() override {
    if (io_ != nullptr) {
      for (std::uint64_t i = 0; i < objects(); ++i) (void)rados_.remove(io_, name_of(i).c_str());
      rados_.ioctx_destroy(io_);
    }
    if (cluster_ != nullptr) rados_.shutdown(cluster_);
  }

  Result<void> prepare() override {
    if (!rados_.load()) return skip("librados2 is not installed (tools/install_packages ceph)");
    if (rados_.create(&cluster_, "holdfast") != 0 ||
        rados_.conf_read_file(cluster_, job_.configuration.c_str()) != 0 ||
        rados_.connect(cluster_) != 0 || rados_.ioctx_create(cluster_, "holdfast", &io_) != 0) {
      return failure("librados does not reach the cluster");
    }
    rados_.set_namespace(io_, "direct-reads");
    std::vector<std::byte> content(job_.object_bytes);
    for (std::uint64_t i = 0; i < objects(); ++i) {
      Workload(content.data(), 0, content.size() / kPageBytes, i).fill();
      // The number of each page within all objects, where nothing else is looked at.
      for (std::uint64_t page = 0; page < pages_each(); ++page) {
        store_word(content.data() + page * kPageBytes, page_tag(i * pages_each() + page));
      }
      const int error = rados_.write_full(
          io_, name_of(i).c_str(), reinterpret_cast<const char*>(content.data()), content.size());
      if (error != 0) return failure(fmt::format("rados_write_full: errno {}", -error));
    }
    return {};
  }

  Result<double> round(unsigned) override {
    std::vector<std::byte> page(kPageBytes);
    Interval interval{.ops = job_.reads};
    const double start = now_seconds();
    for (std::uint64_t op = 0; op < job_.reads; ++op) {
      const std::uint64_t at = random_.below(job_.bytes / kPageBytes);
      const int got =
          rados_.read(io_, name_of(at / pages_each()).c_str(), reinterpret_cast<char*>(page.data()),
                      kPageBytes, at % pages_each() * kPageBytes);
      if (got != static_cast<int>(kPageBytes)) return failure(fmt::format("rados_read: {}", got));
      if (load_word(page.data()) != page_tag(at)) ++interval.wrong;
    }
    interval.seconds = now_seconds() - start;
    auto fine = checked(interval);
    if (!fine) return std::unexpected(fine.error());
    return fine->microseconds_per_op();
  }

  std::string report() override {
    return fmt::format("peer: rados_read of 4 KiB, {} objects of {} KiB", objects(),
                       job_.object_bytes >> 10);
  }

 private:
  [[nodiscard]] std::uint64_t objects() const { return job_.bytes / job_.object_bytes; }
  [[nodiscard]] std::uint64_t pages_each() const { return job_.object_bytes / kPageBytes; }
  static std::string name_of(std::uint64_t object) { return fmt::format("direct.{}", object); }

  DirectReadsJob job_;
  Random random_;
  Librados rados_{};
  void* cluster_ = nullptr;
  void* io_ = nullptr;
};

}  // namespace

std::unique_ptr<Worker> make_direct_reads(const DirectReadsJob& job) {
  return std::make_unique<DirectReads>(job);
}

}  // namespace holdfast::bench
