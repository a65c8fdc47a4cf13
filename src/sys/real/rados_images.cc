#include "sys/real/rados_images.h"

#include <algorithm>
#include <cerrno>
#include <sstream>

#include "sys/machine.h"
#include "sys/real/rados_lease.h"
#include "sys/real/rados_store.h"

namespace holdfast::sys::real {
namespace {

constexpr const char* kFirstLine = "holdfast image 1";
constexpr std::size_t kTextMax = 4096;

Error image_error(int error, const char* doing) {
  Error e{.code = Errc::system, .os_errno = error, .doing = doing, .what = "image"};
  switch (error) {
    case ENOENT:
      e.code = Errc::not_found;
      e.remedy = "holdfast image list names those that are there";
      break;
    case EBUSY:
      e.code = Errc::busy;
      e.remedy = "it is being written or removed: wait a minute";
      break;
    case EPERM:
    case EACCES:
      e.code = Errc::permission;
      e.remedy = "the user needs osd caps rwx on the pool";
      break;
    case ETIMEDOUT:
      e.code = Errc::timed_out;
      e.remedy = "the cluster does not answer: see that it runs and can be reached";
      break;
    case EPROTO:
      e.code = Errc::corrupted;
      e.what = "object of the image's name";
      e.remedy = "it was written by something else: remove it by rados rm";
      break;
    default:
      break;
  }
  return e;
}

std::string text_of(const FarImage& image) {
  std::ostringstream text;
  text << kFirstLine << "\nsession " << image.session << "\nobject_bytes " << image.object_bytes
       << "\nbytes " << image.bytes << "\nlabel " << image.label << '\n';
  return text.str();
}

// False: it is none of ours.
bool read_text(const std::string& text, FarImage& image) {
  std::istringstream lines(text);
  std::string first, key;
  if (!std::getline(lines, first) || first != kFirstLine) return false;
  while (lines >> key) {
    if (key == "session") lines >> image.session;
    if (key == "object_bytes") lines >> image.object_bytes;
    if (key == "bytes") lines >> image.bytes;
    if (key == "label") std::getline(lines >> std::ws, image.label);
  }
  return !image.session.empty() && image.object_bytes > 0 && image.bytes > 0;
}

int load(const RadosPool& pool, FarImage& image) {
  std::string text;
  const int error = pool.content(name_object(image.name), kTextMax, text);
  if (error != 0) return error;
  return read_text(text, image) ? 0 : EPROTO;
}

}  // namespace

void name_image(const RadosPool& pool, const RadosWrite& write, const FarImage& image) {
  const std::string text = text_of(image);
  pool.api().rados_write_op_create(write.op(), LIBRADOS_CREATE_EXCLUSIVE, nullptr);
  pool.api().rados_write_op_write_full(write.op(), text.data(), text.size());
}

Error publish_error(int error) {
  Error e = image_error(error, "publish image");
  if (error == EEXIST) {
    e.code = Errc::invalid_argument;
    e.what = "name of the image";
    e.remedy =
        "there is one of this name: choose another, or remove it by holdfast image rm, or by "
        "holdfast far gc where holdfast image list does not know it";
  }
  if (error == ENOSPC || error == EDQUOT) e.remedy = "the pool is full: make room in it";
  if (error == ESTALE) e.remedy = "its unfinished objects were removed meanwhile: save again";
  if (error == ETIMEDOUT)
    e.remedy = "no answer in time: holdfast image list tells whether it is there";
  return e;
}

bool is_whole(const RadosPool& pool, const FarImage& image) {
  return pool.attribute(header_of(image.session, true), kSessionAttribute) == image.session;
}

Expected<void> check_name_is_free(const RadosPool& pool, const std::string& name) {
  FarImage there{.name = name};
  const int error = load(pool, there);
  if (error == ENOENT) return {};
  return fail(publish_error(error == 0 || error == EPROTO ? EEXIST : error));
}

Expected<FarImage> find_image(const RadosPool& pool, const std::string& name) {
  FarImage image{.name = name};
  if (const int error = load(pool, image)) return fail(image_error(error, "open image"));
  if (!is_whole(pool, image)) return fail(image_error(ENOENT, "open image"));
  return image;
}

Expected<std::vector<FarImage>> named_images(const RadosPool& pool) {
  std::vector<std::string> names;
  if (const int error = pool.list(kNamePrefix, names)) {
    return fail(image_error(error, "list images"));
  }
  std::ranges::sort(names);
  std::vector<FarImage> all;
  for (const std::string& object : names) {
    FarImage image{.name = object.substr(std::string(kNamePrefix).size())};
    const int error = load(pool, image);
    if (error == 0) all.push_back(std::move(image));
    // Removed since, or none of ours.
    if (error != 0 && error != ENOENT && error != EPROTO) {
      return fail(image_error(error, "list images"));
    }
  }
  return all;
}

Expected<std::vector<FarImage>> list_rados_images(const ObjectStoreOptions& options) {
  const auto pool = TRY(RadosPool::open(options));
  std::vector<FarImage> all = TRY(named_images(*pool));
  std::erase_if(all, [&](const FarImage& image) { return !is_whole(*pool, image); });
  return all;
}

// Marked first, under the lock, so that nobody sees it any more whatever happens next.
Expected<FarImage> remove_rados_image(const ObjectStoreOptions& options) {
  constexpr const char* kDoing = "remove image";
  const auto pool = TRY(RadosPool::open(options));
  const FarImage image = TRY(find_image(*pool, options.image));
  const std::string header = header_of(image.session, true);
  const RadosWrite write(*pool);
  condemn_session(*pool, write, "remover " + std::to_string(real_machine().random_u64()));
  if (const int error = write.run(header, kEvenIfFull)) return fail(image_error(error, kDoing));
  int error = pool->remove(name_object(image.name));
  const std::uint64_t objects = (image.bytes + image.object_bytes - 1) / image.object_bytes;
  for (std::uint64_t i = 0; i < objects && error == 0; ++i) {
    error = pool->remove(object_of(header, i));
  }
  if (error == 0) error = pool->remove(header);
  if (error != 0) return fail(image_error(error, kDoing));
  return image;
}

}  // namespace holdfast::sys::real
