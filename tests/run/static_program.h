// A program that is linked statically, for tests of what cannot be managed.
#pragma once

#include <cstdlib>
#include <fstream>
#include <string>

#include "support/temp_directory.h"

namespace holdfast::run::test {

// Where it is; `body`: of its main(), in C. Empty: there is no compiler that can.
[[nodiscard]] inline std::string build_static(const tests::TempDirectory& directory,
                                              const std::string& name, const std::string& body) {
  const std::string path = directory.file(name);
  std::ofstream(path + ".c") << "#include <stdio.h>\nint main(void) { " << body << " }\n";
  const std::string command = "cc -static -o " + path + " " + path + ".c 2>/dev/null";
  return std::system(command.c_str()) == 0 ? path : "";
}

}  // namespace holdfast::run::test
