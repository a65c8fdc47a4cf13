// Images: memory in a file, as it was at one moment, and back.
//
// What it is for: a backup of a running program (`save` a snapshot while the program goes on
// writing), and a start from it (`restore`), on this machine or another. An image is compact (zeros
// and repeated words take nothing, the rest is compressed), checksummed throughout, and may be
// incremental: only what differs from an earlier image. docs/image-format.md is its format.
//
// Who owns what: an Image keeps its files open, and a region that was restored from it keeps them
// open too, until it goes: pages come from there as they are touched. So an image may be deleted or
// replaced while it is in use, but must not be cut short or written to. An Image may go before the
// regions that were restored from it.
//
// Saving and restoring:
//     auto snapshot = engine->snapshot(region);             // a pause of microseconds
//     if (!snapshot) return report(snapshot.error());
//     auto saved = holdfast::save_to(*snapshot, "/backup/monday");
//     ...
//     auto region = holdfast::restore_from(*engine, "/backup/monday");
//     if (!region) return report(region.error());           // refused: nothing was restored
//     use(region->data());                                  // each page is read when it is touched
//
// Incremental, and without reading what has not changed:
//     auto monday = holdfast::Image::open("/backup/monday");
//     holdfast::SaveOptions options;
//     options.base = &*monday;
//     options.since = &*snapshot;         // of which monday was saved; may be left out
//     auto later = engine->snapshot(region);
//     auto saved = holdfast::save_to(*later, "/backup/tuesday", options);
//
// On another machine: wherever this header takes a path of an image, it also takes
//     rados:[USER@]POOL[/NAMESPACE]/NAME[@CONF]
// an image in a pool of a Ceph cluster (CONF: its configuration, else /etc/ceph/ceph.conf; USER:
// of the cluster, else admin). It can be restored wherever the pool can be reached, lazily and by
// several at once; bases are looked for in the same pool and namespace. docs/far-memory.md has
// more.
//
// Context: task only. Thread-safety: an Image may be used by several threads at once; closing it
// while others use it is the caller's bug.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "holdfast/engine.h"
#include "holdfast/error.h"
#include "holdfast/region.h"
#include "holdfast/snapshot.h"

namespace holdfast {

class Image;

enum class ImageCompression : std::uint8_t {
  none,  // pages as they are
  lz4,   // about as fast as a disk writes
  zstd,  // smaller, several times slower
};

// Names an image: drawn by chance when it is saved.
struct ImageId {
  std::uint64_t low = 0;
  std::uint64_t high = 0;
  friend bool operator==(const ImageId&, const ImageId&) noexcept = default;
  // 32 hexadecimal digits, as `holdfast image info` prints them. Allocates.
  [[nodiscard]] std::string to_string() const;
};

struct ImageProgress {
  std::uint64_t bytes_done = 0;    // save: of memory. verify: of the file
  std::uint64_t bytes_in_all = 0;  // of the same
  std::uint64_t file_bytes = 0;    // save: written so far
};

// Called now and then on the thread that saves or verifies. False: stop (Errc::cancelled).
using ImageProgressFn = bool (*)(const ImageProgress& progress, void* context);

struct SaveOptions {
  ImageCompression compression = ImageCompression::lz4;
  // The earlier image that this one is to be based on, with its own bases; null: a full image.
  // Regions are compared in their order, each from its beginning.
  const Image* base = nullptr;
  // The snapshot that was saved to `base`: what has not changed since is not even read. It is
  // believed only if `base` is the image that it was saved to last. Null: pages are read and
  // compared by their hashes. For several snapshots see the save() that takes a span.
  const Snapshot* since = nullptr;
  std::uint32_t threads = 0;  // that read and compress; 0: one for each CPU, 8 at most
  ImageProgressFn progress = nullptr;
  void* progress_context = nullptr;
};

struct SaveReport {
  ImageId id;
  // Bytes of memory, by what became of them; together they are memory_bytes.
  std::uint64_t memory_bytes = 0;
  std::uint64_t data_bytes = 0;       // compressed
  std::uint64_t filled_bytes = 0;     // zeros, or one repeated word
  std::uint64_t unchanged_bytes = 0;  // as in the base
  std::uint64_t file_bytes = 0;
  std::uint64_t nanoseconds = 0;
};

// Saves a snapshot to an open descriptor: a file at its beginning, which is emptied first, or a
// pipe or socket. A file is synced; it is an image when save() has returned, and until then is
// refused as torn. Errors: invalid_argument (the descriptor; `since` that does not belong to
// `base`), not_mapped (no snapshot), cancelled, io_error and system (what: offset in the file, with
// errno), those of reading the snapshot and the base, interrupt_context. Allocates; may wait for
// I/O.
[[nodiscard]] Expected<SaveReport> save(const Snapshot& snapshot, int fd,
                                        const SaveOptions& options = {});

// Saves a snapshot to a file of mode 0600 at `path`, whose directory exists. The file that was
// there stays as it was until the new one is whole and durable, and takes its place then, at once:
// a crash at any moment leaves the one or the other. In a pool (rados:...) nothing is replaced: the
// image is seen when it is whole and durable, and a name that is there already is invalid_argument
// with EEXIST. Errors: as save(), and not_found, permission; of a pool timed_out, unsupported too.
[[nodiscard]] Expected<SaveReport> save_to(const Snapshot& snapshot, const std::string& path,
                                           const SaveOptions& options = {});

// Several snapshots in one image, as its regions 0, 1, ...; `since`, if not empty, has one for
// each of them (options.since is not looked at).
[[nodiscard]] Expected<SaveReport> save(std::span<const Snapshot* const> snapshots, int fd,
                                        const SaveOptions& options = {},
                                        std::span<const Snapshot* const> since = {});
[[nodiscard]] Expected<SaveReport> save_to(std::span<const Snapshot* const> snapshots,
                                           const std::string& path, const SaveOptions& options = {},
                                           std::span<const Snapshot* const> since = {});

struct ImageInfo {
  ImageId id;
  ImageId base;  // 0: a full image
  std::uint32_t version = 0;
  std::uint32_t images = 1;                 // in its chain, itself included
  std::vector<std::uint64_t> region_bytes;  // the size of each region
  // Bytes of memory, by how this image holds them.
  std::uint64_t data_bytes = 0, filled_bytes = 0, unchanged_bytes = 0;
  std::uint64_t file_bytes = 0;  // of this image alone
};

namespace detail {
class ImageControl;  // what an Image stands for: engine/image_handle.h
}

class Image {
 public:
  Image() noexcept = default;  // no image
  Image(Image&& other) noexcept : control_(other.control_) { other.control_ = nullptr; }
  Image& operator=(Image&& other) noexcept;
  Image(const Image&) = delete;
  Image& operator=(const Image&) = delete;
  ~Image();

  // Opens an image and proves it sound but for its pages, which are proved when they are read.
  // Bases are looked for among the files `bases`, then (of a path) in its directory, by their ids.
  // The descriptor is duplicated; what it is open on must be readable at any offset. Errors:
  // invalid_argument (no image), unsupported (a newer version), corrupted (torn, truncated,
  // damaged; value: the offset), not_found (the file, or a base), permission, io_error.
  [[nodiscard]] static Expected<Image> open(const std::string& path,
                                            const std::vector<std::string>& bases = {});
  [[nodiscard]] static Expected<Image> open(int fd, const std::vector<std::string>& bases = {});

  [[nodiscard]] explicit operator bool() const noexcept { return control_ != nullptr; }
  [[nodiscard]] ImageInfo info() const;  // allocates

  // Reads every byte of the image and its bases, and proves it. Errors: corrupted, io_error
  // (value: the offset), cancelled.
  Expected<void> verify(ImageProgressFn progress = nullptr, void* context = nullptr) const;

  // For the engine: what it stands for.
  [[nodiscard]] detail::ImageControl* control() const noexcept { return control_; }

 private:
  friend class detail::ImageControl;
  explicit Image(detail::ImageControl* control) noexcept : control_(control) {}

  detail::ImageControl* control_ = nullptr;  // owned
};

struct RestoreOptions {
  std::uint32_t region = 0;             // which region of the image
  std::uint64_t capacity = 0;           // as in Engine::map_anonymous; 0: its size
  std::vector<std::string> bases = {};  // as in Image::open
};

// A region with the memory of a region of the image. Nothing is read yet: pages come from the image
// as they are touched, 64 KiB at a time (one page with Advice::random), and need no swap as long as
// they are not written to. What cannot be read then goes to the error handler, with errno and
// offset, as an error of swap would. All or nothing. Errors: those of Image::open,
// invalid_argument (no such region), those of map_anonymous, unsupported.
[[nodiscard]] Expected<Region> restore(Engine& engine, const Image& image,
                                       const RestoreOptions& options = {});
[[nodiscard]] Expected<Region> restore(Engine& engine, int fd, const RestoreOptions& options = {});
[[nodiscard]] Expected<Region> restore_from(Engine& engine, const std::string& path,
                                            const RestoreOptions& options = {});

}  // namespace holdfast
