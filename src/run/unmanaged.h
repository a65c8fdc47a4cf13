// Tells, once for each program, of those that run in the tree and are not managed, and why.
//
// A process is looked at when it has been seen twice without a pager: until then it may be on its
// way to one. Used by the watching thread.
#pragma once

#include <map>
#include <set>
#include <string>
#include <vector>

#include "run/client.h"
#include "run/registry.h"
#include "sys/sys.h"

namespace holdfast::run {

class Unmanaged {
 public:
  // `pager`: "NAME=value", what a program that can come to us has in its environment.
  Unmanaged(sys::Machine& machine, std::string pager) noexcept
      : machine_(machine), pager_(std::move(pager)) {}

  // A program that is about to be started.
  void look_ahead(const std::string& command);
  // The processes of the tree, and those that have a pager.
  void look(const std::vector<int>& tree, Registry& registry);

 private:
  void tell(const std::string& program, const std::string& who, const std::string& why);
  [[nodiscard]] std::string reason(int pid, const std::string& program) const;

  sys::Machine& machine_;
  const std::string pager_;
  std::map<int, std::string> seen_;  // without a pager: what it runs
  std::set<std::string> told_;       // programs
};

}  // namespace holdfast::run
