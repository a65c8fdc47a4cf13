#include "run/program_file.h"

#include <elf.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <climits>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <string_view>
#include <system_error>

namespace holdfast::run {
namespace {

constexpr std::size_t kFirstLineMax = 256;  // as much of a script as the kernel looks at

class File {
 public:
  explicit File(const std::string& path) : fd_(::open(path.c_str(), O_RDONLY | O_CLOEXEC)) {}
  ~File() {
    if (fd_ >= 0) ::close(fd_);
  }
  File(const File&) = delete;
  File& operator=(const File&) = delete;
  [[nodiscard]] bool is_open() const noexcept { return fd_ >= 0; }
  // How many bytes of them there are.
  std::size_t read(void* to, std::size_t bytes, std::uint64_t at) const noexcept {
    const ssize_t got = ::pread(fd_, to, bytes, static_cast<off_t>(at));
    return got < 0 ? 0 : static_cast<std::size_t>(got);
  }

 private:
  int fd_;
};

// "#!interpreter argument".
void read_first_line(const File& file, ProgramFile& program) {
  std::string line(kFirstLineMax, '\0');
  line.resize(file.read(line.data(), line.size(), 0));
  line.resize(std::min(line.find('\n'), line.size()));
  std::string_view rest = std::string_view(line).substr(2);
  const auto skip = [&] {
    rest.remove_prefix(std::min(rest.find_first_not_of(" \t"), rest.size()));
  };
  skip();
  program.interpreter = rest.substr(0, rest.find_first_of(" \t"));
  rest.remove_prefix(program.interpreter.size());
  skip();
  program.argument = rest;
  while (program.argument.ends_with(' ')) program.argument.pop_back();
}

Preload read_elf(const File& file, ProgramFile& program) {
  Elf64_Ehdr header{};
  if (file.read(&header, sizeof header, 0) != sizeof header ||
      header.e_ident[EI_CLASS] != ELFCLASS64 || header.e_machine != EM_X86_64) {
    return Preload::other_machine;
  }
  for (unsigned i = 0; i < header.e_phnum; ++i) {
    Elf64_Phdr segment{};
    const std::uint64_t at = header.e_phoff + std::uint64_t{i} * header.e_phentsize;
    if (file.read(&segment, sizeof segment, at) != sizeof segment) break;
    if (segment.p_type != PT_INTERP) continue;
    program.loader.resize(std::min<std::uint64_t>(segment.p_filesz, PATH_MAX));
    program.loader.resize(
        file.read(program.loader.data(), program.loader.size(), segment.p_offset));
    program.loader.resize(std::strlen(program.loader.c_str()));
    return Preload::works;
  }
  return Preload::static_linked;
}

// Somebody else than its user gets a say: then the loader trusts no environment.
bool gives_privileges(const std::string& path, const struct stat& file, uid_t user) {
  if ((file.st_mode & S_ISUID) != 0 && file.st_uid != user) return true;
  if ((file.st_mode & S_ISGID) != 0 && file.st_gid != ::getgid()) return true;
  return user != 0 && ::getxattr(path.c_str(), "security.capability", nullptr, 0) > 0;
}

}  // namespace

ProgramFile inspect_program(const std::string& path, uid_t user) {
  ProgramFile program{.path = path};
  struct stat status{};
  if (::stat(path.c_str(), &status) != 0) return program;
  program.preload = Preload::not_executable;
  if (!S_ISREG(status.st_mode) || ::access(path.c_str(), X_OK) != 0) return program;
  const File file(path);
  std::array<char, 4> magic{};
  program.preload = Preload::works;  // may be executed and not read: nothing speaks against it
  if (!file.is_open()) return program;
  program.preload = Preload::not_a_program;
  if (file.read(magic.data(), magic.size(), 0) < 2) return program;
  if (magic[0] == '#' && magic[1] == '!') {
    program.preload = Preload::script;
    read_first_line(file, program);
  } else if (std::memcmp(magic.data(), ELFMAG, SELFMAG) == 0) {
    program.preload = read_elf(file, program);
    if (program.preload == Preload::works && gives_privileges(path, status, user)) {
      program.preload = Preload::set_user;
    }
  }
  return program;
}

ProgramFile find_program(const std::string& name) {
  if (name.find('/') != std::string::npos) return inspect_program(name, ::getuid());
  const char* const path = std::getenv("PATH");
  std::string_view rest = path == nullptr ? "/bin:/usr/bin" : path;
  ProgramFile last{.path = name};
  while (!rest.empty()) {
    const std::string_view folder = rest.substr(0, rest.find(':'));
    rest.remove_prefix(std::min(folder.size() + 1, rest.size()));
    ProgramFile found =
        inspect_program(std::string(folder.empty() ? "." : folder) + "/" + name, ::getuid());
    if (found.preload == Preload::not_found) continue;
    last = std::move(found);
    if (last.preload != Preload::not_executable) break;
  }
  return last;
}

std::string recorded_program(const std::string& name) {
  const std::string path = find_program(name).path;
  std::error_code error;
  const std::filesystem::path resolved = std::filesystem::canonical(path, error);
  return error ? path : resolved.string();
}

ProgramFile follow_interpreter(ProgramFile program) {
  constexpr int kLevelsMax = 8;
  for (int i = 0; i < kLevelsMax && program.preload == Preload::script; ++i) {
    const std::string name = program.interpreter.substr(program.interpreter.rfind('/') + 1);
    std::string next = program.interpreter;
    if (name == "env" && !program.argument.empty()) {
      // "env NAME", "env -S NAME arguments"
      std::string_view rest = program.argument;
      if (rest.starts_with("-S ")) rest.remove_prefix(3);
      rest = rest.substr(0, rest.find(' '));
      if (!rest.starts_with('-') && rest.find('=') == std::string_view::npos) next = rest;
    }
    program = find_program(next);
  }
  return program;
}

const char* why_unmanaged(Preload preload) noexcept {
  switch (preload) {
    case Preload::static_linked:
      return "it is statically linked, so that nothing can be preloaded into it";
    case Preload::set_user:
      return "it is set-uid, set-gid or has capabilities, so that the loader ignores LD_PRELOAD";
    case Preload::other_machine:
      return "it is not a 64-bit x86 program";
    default:
      return "";
  }
}

}  // namespace holdfast::run
