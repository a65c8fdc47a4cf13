#include "corpus.h"

#include <zlib.h>

#include <algorithm>
#include <filesystem>
#include <span>
#include <system_error>

namespace fs = std::filesystem;

namespace {
constexpr std::size_t kLongest = 4 << 20;
}  // namespace

Corpus::Corpus(const std::vector<std::string>& directories) {
  for (const std::string& directory : directories) {
    std::error_code error;
    const auto options = fs::directory_options::skip_permission_denied;
    for (fs::recursive_directory_iterator it(directory, options, error), end; it != end;
         it.increment(error)) {
      if (error) break;
      if (it->is_regular_file(error) && !it->is_symlink(error)) paths_.push_back(it->path());
    }
  }
  std::sort(paths_.begin(), paths_.end());
  buffer_.resize(kLongest);
}

std::string Corpus::name(std::size_t document) const {
  const std::size_t copy = document / size();
  const std::string& path = paths_[document % size()];
  return copy == 0 ? path : path + "#" + std::to_string(copy + 1);
}

std::string_view Corpus::read(std::size_t document) {
  const gzFile file = gzopen(paths_[document % size()].c_str(), "rb");  // reads plain files too
  if (file == nullptr) return {};
  const int length = gzread(file, buffer_.data(), kLongest);
  gzclose(file);
  if (length <= 0) return {};
  const std::span text(buffer_.data(), static_cast<std::size_t>(length));
  for (char& c : text) {
    if (c == '\0') return {};  // a picture or the like
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return {text.data(), text.size()};
}
