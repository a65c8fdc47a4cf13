// What the shim inside a program and the pager outside of it say to each other.
//
// One connection per address space, over a SOCK_SEQPACKET socket with an abstract name, so that a
// program which closes every descriptor it has still finds the pager after an exec. Both ends are
// built together: there are no versions. Plain structures: the shim has no library under it.
//
// Flow at the start of a program (shim left, pager right):
//   Hello{start}                          ->
//                                         <-  Welcome + descriptor of /dev/userfaultfd, or none
//   Area + descriptor of its userfaultfd  ->  (agrees on features, registers beacon and pool)
//                                         <-  Ready
// and in the child of a fork, whose userfaultfd the pager has from UFFD_EVENT_FORK. Touching the
// beacon first tells the pager which process it belongs to:
//   Hello{forked}                         ->
//                                         <-  Welcome + descriptor of the child's userfaultfd
//   Area                                  ->  (registers the pool)
//                                         <-  Ready
// From then on the helper thread has the connection: an Answer when it runs, and then one for each
// Command. When it ends, the pager is dead and so is every page that it kept: the helper kills its
// program.
#pragma once

#include <cstdint>

namespace holdfast::run {

// The environment variable that names the socket; what follows '=' is its abstract name.
inline constexpr char kSocketVariable[] = "HOLDFAST_RUN_PAGER";

inline constexpr std::uint64_t kShimPage = 4096;
inline constexpr std::uint64_t kPoolBytes = std::uint64_t{1} << 21;  // one window
inline constexpr unsigned kPagesPerWindow = 512;
inline constexpr unsigned kRunsMax = kPagesPerWindow / 2;  // every other page
inline constexpr unsigned kMaskWords = kPagesPerWindow / 64;

enum class HelloKind : std::uint32_t { start = 1, forked = 2 };

struct Hello {
  HelloKind kind;
};

struct Welcome {
  std::int32_t error;  // errno; 0: go on
};

// Where the shim's own memory is in the program: never managed.
struct Area {
  std::uint64_t start;  // of all of it, guards included
  std::uint64_t bytes;
  std::uint64_t beacon;  // one page, empty in every child of a fork
  std::uint64_t pool;    // kPoolBytes, aligned to them: where a window leaves to
};

struct Ready {
  std::int32_t error;
};

enum class CommandKind : std::uint32_t {
  none = 0,       // what the first answer is to
  move_out = 1,   // the runs of a window leave to the same places of the pool
  drop_pool = 2,  // what stands in the pool has been read: give the memory back
  unshare = 3,    // pages shared with other processes since a fork become this one's own
};

// A stretch of the window, whose first page is there; what is missing in it stays missing.
struct Run {
  std::uint16_t first;  // page of the window
  std::uint16_t count;
};

struct Command {
  CommandKind kind;
  std::uint32_t runs;   // how many of run[] are meant
  std::uint32_t holes;  // 1: runs may have holes; each must lie in one mapping
  std::uint32_t padding;
  std::uint64_t window;
  Run run[kRunsMax];
};

struct Answer {
  std::int32_t error;              // errno that ended the command early; 0: it went through
  std::int32_t thread;             // the helper's id
  std::uint64_t busy[kMaskWords];  // bit i: the kernel holds page i, or another process shares it
  // Bit i: page i lies in a mapping that is not registered: gone, it would come back as zeros.
  std::uint64_t strange[kMaskWords];
};

}  // namespace holdfast::run
