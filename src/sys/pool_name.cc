#include "sys/pool_name.h"

namespace holdfast::sys {
namespace {

constexpr const char* kPrefix = "rados:";
constexpr std::size_t kPrefixLength = 6;
constexpr std::size_t kNameMax = 200;  // bytes of an image's name; Ceph has room for 2048

Error bad_name(const char* what, std::uint64_t value, std::uint64_t limit = 0) {
  return {.code = Errc::invalid_argument,
          .doing = "name image",
          .what = what,
          .value = value,
          .limit = limit,
          .remedy = "as in rados:[USER@]POOL[/NAMESPACE]/NAME[@CONF]"};
}

}  // namespace

std::expected<ObjectStoreOptions, std::string> parse_pool(const std::string& text) {
  std::string rest = is_far_name(text) ? text.substr(kPrefixLength) : text;
  ObjectStoreOptions options;
  const std::size_t at = rest.find('@');
  if (at != std::string::npos) {
    options.configuration = rest.substr(at + 1);
    if (options.configuration.empty()) {
      return std::unexpected("'" + text +
                             "' names no file after @: rados:POOL@/etc/ceph/ceph.conf");
    }
    rest.resize(at);
  }
  const std::size_t slash = rest.find('/');
  if (slash != std::string::npos) {
    options.name_space = rest.substr(slash + 1);
    if (options.name_space.empty())
      return std::unexpected("'" + text + "' names no namespace after /");
    rest.resize(slash);
  }
  if (rest.empty())
    return std::unexpected("'" + text + "' names no pool: rados:POOL[/NAMESPACE][@CONF]");
  options.pool = rest;
  return options;
}

bool is_far_name(const std::string& text) noexcept { return text.starts_with(kPrefix); }

Expected<ObjectStoreOptions> parse_image_name(const std::string& text) {
  if (!is_far_name(text)) return fail(bad_name("characters before \"rados:\"", 0));
  std::string rest = text.substr(kPrefixLength);
  ObjectStoreOptions options;
  // An @ before the first / ends the user, one behind it begins the configuration.
  const std::size_t at = rest.find('@');
  if (at != std::string::npos && at < rest.find('/')) {
    options.user = rest.substr(0, at);
    rest = rest.substr(at + 1);
    if (options.user.empty()) return fail(bad_name("characters of the user", 0));
  }
  if (const std::size_t end = rest.find('@'); end != std::string::npos) {
    options.configuration = rest.substr(end + 1);
    rest.resize(end);
    if (options.configuration.empty()) return fail(bad_name("characters of CONF, after @", 0));
  }
  const std::size_t first = rest.find('/'), last = rest.rfind('/');
  if (first == std::string::npos) return fail(bad_name("slashes between pool and name", 0, 1));
  options.pool = rest.substr(0, first);
  options.image = rest.substr(last + 1);
  if (first != last) options.name_space = rest.substr(first + 1, last - first - 1);
  const bool no_space = first != last && options.name_space.empty();
  if (options.pool.empty() || no_space || options.name_space.find('/') != std::string::npos) {
    return fail(bad_name("pool and namespace, up to character", last));
  }
  const bool unprintable = options.image.find_first_of("\n\r") != std::string::npos;
  if (options.image.empty() || options.image.size() > kNameMax || unprintable) {
    return fail(bad_name("characters of the name", options.image.size(), kNameMax));
  }
  return options;
}

}  // namespace holdfast::sys
