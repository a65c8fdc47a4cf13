#include "cli/pool_name.h"

namespace holdfast::cli {

std::expected<sys::ObjectStoreOptions, std::string> parse_pool(const std::string& text) {
  constexpr const char* kPrefix = "rados:";
  std::string rest = text.starts_with(kPrefix) ? text.substr(std::string(kPrefix).size()) : text;
  sys::ObjectStoreOptions options;
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

}  // namespace holdfast::cli
