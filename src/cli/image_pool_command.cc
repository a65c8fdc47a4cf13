#include "cli/image_pool_command.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "image/image.h"
#include "sys/sys.h"

namespace holdfast::cli {
namespace {

constexpr int kNo = 1;
constexpr int kUsage = 2;

int report(const std::string& about, const std::string& why, int status = kNo) {
  std::fprintf(stderr, "%s: %s\n", about.c_str(), why.c_str());
  return status;
}

std::string id_text(const image::Id& id) {
  return id.is_none() ? "" : fmt::format("{:016x}{:016x}", id.high, id.low);
}

// The name of the image with this id; empty: it is not here.
std::string name_of(const std::vector<sys::FarImage>& all, const image::Id& id) {
  const auto found = std::ranges::find_if(
      all, [&](const sys::FarImage& image) { return image::label_in(image.label).id == id; });
  return found == all.end() ? "" : found->name;
}

void print_line(const std::vector<sys::FarImage>& all, const sys::FarImage& image) {
  const image::FarLabel label = image::label_in(image.label);
  std::string base = "full";
  if (!label.base.is_none()) {
    const std::string name = name_of(all, label.base);
    base = "based on " + (name.empty() ? id_text(label.base) + ", which is not here" : name);
  }
  fmt::print("{:<24} {}  {:>9.1f} MiB  {}\n", image.name, id_text(label.id),
             static_cast<double>(image.bytes) / (1 << 20), base);
}

int list(const ImagePoolCommand& command) {
  auto options = sys::parse_pool(command.pool);
  if (!options) return report("holdfast image list", options.error(), kUsage);
  options->user = command.user;
  const auto all = sys::real_machine().list_far_images(*options);
  if (!all) return report(command.pool, all.error().message());
  nlohmann::json array = nlohmann::json::array();
  for (const sys::FarImage& image : *all) {
    const image::FarLabel label = image::label_in(image.label);
    if (!command.json) print_line(*all, image);
    array.push_back({{"name", image.name},
                     {"id", id_text(label.id)},
                     {"base", id_text(label.base)},
                     {"bytes", image.bytes}});
  }
  if (command.json) fmt::print("{}\n", array.dump());
  return 0;
}

// Not what another image stands on, unless that is meant.
int remove(const std::string& name, bool force) {
  const auto options = sys::parse_image_name(name);
  if (!options) return report(name, options.error().message(), kUsage);
  const auto all = sys::real_machine().list_far_images(*options);
  if (!all) return report(name, all.error().message());
  const auto found = std::ranges::find(*all, options->image, &sys::FarImage::name);
  if (found != all->end() && !force) {
    const image::Id id = image::label_in(found->label).id;
    for (const sys::FarImage& other : *all) {
      if (id.is_none() || image::label_in(other.label).base != id) continue;
      return report(name, other.name + " is based on it: remove that first, or --force");
    }
  }
  const auto removed = sys::real_machine().remove_far_image(*options);
  if (!removed) return report(name, removed.error().message());
  return 0;
}

}  // namespace

void declare(CLI::App& app, ImagePoolCommand& command) {
  command.list = app.add_subcommand("list", "Say which images a pool of Ceph holds");
  command.list->add_option("POOL", command.pool, "POOL[/NAMESPACE][@CONF]")->required();
  command.list->add_option("--user", command.user, "the user of the cluster (cephx)")
      ->capture_default_str();
  command.list->add_flag("--json", command.json, "print JSON");
  command.remove = app.add_subcommand("rm", "Remove images from a pool of Ceph");
  command.remove->add_option("NAME", command.names, "rados:[USER@]POOL[/NAMESPACE]/NAME[@CONF]")
      ->required();
  command.remove->add_flag("--force", command.force, "even if another image is based on it");
}

int run(const ImagePoolCommand& command) {
  if (*command.list) return list(command);
  int status = 0;
  for (const std::string& name : command.names) {
    status = std::max(status, remove(name, command.force));
  }
  return status;
}

}  // namespace holdfast::cli
