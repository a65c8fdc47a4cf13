#include "run/needs.h"

#include <fcntl.h>
#include <linux/capability.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdlib>
#include <cstring>

#include "run/pagemap.h"
#include "run/process_files.h"
#include "run/program.h"
#include "run/remote_memory.h"

namespace holdfast::run {
namespace {

constexpr std::uint64_t kFeatureMove = std::uint64_t{1} << 16;  // UFFD_FEATURE_MOVE, Linux 6.8

const char* const kPermit =
    "run as root, or give the command CAP_SYS_PTRACE (setcap cap_sys_ptrace=ep on it), which "
    "faults in system calls and the following of forks need; in a container: --cap-add SYS_PTRACE "
    "--device /dev/userfaultfd";

bool moves_pages() {
  int descriptor = -1;
  if (open_userfault(descriptor) != 0) return false;
  uffdio_api api{};
  api.api = UFFD_API;
  const bool there =
      ::ioctl(descriptor, UFFDIO_API, &api) == 0 && (api.features & kFeatureMove) != 0;
  ::close(descriptor);
  return there;
}

bool scans_pagemaps() {
  const int pagemap = ::open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
  if (pagemap < 0) return false;
  PagemapScan scan{};
  scan.size = sizeof scan;
  scan.start = 0;
  scan.end = kPageSize;
  scan.any_of = kPageIsPresent;
  scan.wanted = kPageIsPresent;
  std::array<PagemapRun, 1> found;
  scan.vector = reinterpret_cast<std::uintptr_t>(found.data());
  scan.vector_length = found.size();
  const bool works = ::ioctl(pagemap, kPagemapScan, &scan) >= 0;
  ::close(pagemap);
  return works;
}

// Among the capabilities that are in effect.
bool may_trace() {
  const std::string text = file_contents("/proc/self/status");
  const std::size_t at = text.find("\nCapEff:");
  if (at == std::string::npos) return false;
  const auto effective = std::strtoull(text.c_str() + at + std::strlen("\nCapEff:"), nullptr, 16);
  return (effective >> CAP_SYS_PTRACE & 1) != 0;
}

}  // namespace

bool Needs::met() const noexcept {
  return userfault_errno == 0 && events_errno == 0 && trace && move && pagemap_scan &&
         !shim.empty();
}

Needs probe_needs(const std::string& shim) {
  Needs needs;
  int descriptor = -1;
  needs.userfault_errno = open_userfault(descriptor);
  if (needs.userfault_errno == 0) {
    RemoteMemory memory(descriptor);
    needs.events_errno = memory.agree();
  } else {
    needs.events_errno = needs.userfault_errno;
  }
  needs.trace = may_trace();
  needs.move = moves_pages();
  needs.pagemap_scan = scans_pagemaps();
  needs.shim = find_shim(shim);
  if (::access(needs.shim.c_str(), R_OK) != 0) needs.shim.clear();
  return needs;
}

std::string refusal(const Needs& needs) {
  if (needs.shim.empty()) {
    return "libholdfast_run.so is not there: it belongs beside the holdfast command or in "
           "../lib/holdfast; --shim names another place";
  }
  if (needs.userfault_errno == ENOSYS) {
    return "userfaultfd: this kernel has none: it needs CONFIG_USERFAULTFD, Linux 6.8 or newer";
  }
  if (needs.userfault_errno != 0) {
    return std::string("userfaultfd: ") + std::strerror(needs.userfault_errno) + ": " + kPermit;
  }
  if (needs.events_errno == EPERM || !needs.trace) {
    return std::string("userfaultfd tells nothing of forks without CAP_SYS_PTRACE: ") + kPermit;
  }
  if (needs.events_errno != 0 || !needs.move || !needs.pagemap_scan) {
    return "this kernel lacks UFFDIO_MOVE or PAGEMAP_SCAN: Linux 6.8 or newer is needed";
  }
  return {};
}

}  // namespace holdfast::run
