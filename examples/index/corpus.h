// The text that this machine has: documentation, man pages, licences.
//
// Files are read into ordinary memory, as they should be: a system call that is given a managed
// buffer which is not resident fails with EFAULT, unless the buffer is pinned first.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

class Corpus {
 public:
  // Lists the regular files under the directories, in one order for ever; what is not there is
  // passed over.
  explicit Corpus(const std::vector<std::string>& directories);

  [[nodiscard]] std::size_t size() const { return paths_.size(); }
  // The same documents come again under other names: document size() is a copy of document 0.
  [[nodiscard]] std::string name(std::size_t document) const;
  // The text of a document (of its first 4 MiB), unpacked if it is a .gz, in lower case. Empty if
  // it is no text or cannot be read. Valid until the next call.
  [[nodiscard]] std::string_view read(std::size_t document);

 private:
  std::vector<std::string> paths_;
  std::vector<char> buffer_;
};
