// A terminal, and a job in its foreground, as a shell with job control starts one.
#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <string>
#include <vector>

#include "run/execution.h"

namespace holdfast::run::test {

class JobTerminal {
 public:
  explicit JobTerminal(const std::vector<std::string>& command) {
    master_ = ::posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
    EXPECT_EQ(::grantpt(master_), 0);
    EXPECT_EQ(::unlockpt(master_), 0);
    EXPECT_EQ(::pipe2(changes_.data(), O_CLOEXEC), 0);
    EXPECT_EQ(::pipe2(orders_.data(), O_CLOEXEC), 0);
    leader_ = ::fork();
    if (leader_ == 0) lead(command);
    ::close(changes_[1]);
    ::close(orders_[0]);
  }
  ~JobTerminal() {
    ::close(orders_[1]);
    ::close(changes_[0]);
    ::close(master_);  // hangs up
    ::waitpid(leader_, nullptr, 0);
  }
  JobTerminal(const JobTerminal&) = delete;
  JobTerminal& operator=(const JobTerminal&) = delete;

  void type(const std::string& keys) const {
    EXPECT_EQ(::write(master_, keys.data(), keys.size()), static_cast<ssize_t>(keys.size()));
  }
  // Reads until the text has come; false: it has not, and the job is over.
  bool await(const std::string& text) {
    while (screen_.find(text) == std::string::npos) {
      std::array<char, 4096> buffer;
      const ssize_t got = ::read(master_, buffer.data(), buffer.size());
      if (got <= 0) return false;
      screen_.append(buffer.data(), static_cast<std::size_t>(got));
    }
    return true;
  }
  // What became of the job: it has ended, or was stopped. As of wait().
  [[nodiscard]] int next_change() const {
    int status = -1;
    EXPECT_EQ(::read(changes_[0], &status, sizeof status), static_cast<ssize_t>(sizeof status));
    return status;
  }
  // As `fg` does.
  void resume() const { EXPECT_EQ(::write(orders_[1], "c", 1), 1); }
  // All that has been shown. The job is over.
  [[nodiscard]] const std::string& screen() {
    pollfd waiting{.fd = master_, .events = POLLIN, .revents = 0};
    while (::poll(&waiting, 1, 0) > 0) {
      std::array<char, 4096> buffer;
      const ssize_t got = ::read(master_, buffer.data(), buffer.size());
      if (got <= 0) break;
      screen_.append(buffer.data(), static_cast<std::size_t>(got));
    }
    return screen_;
  }

 private:
  // The shell: leads the session, keeps the job in the foreground, and reports its changes.
  [[noreturn]] void lead(const std::vector<std::string>& command) const {
    ::setsid();
    const int terminal = ::open(::ptsname(master_), O_RDWR);
    ::ioctl(terminal, TIOCSCTTY, 0);
    ::signal(SIGTTOU, SIG_IGN);
    const pid_t job = ::fork();
    if (job == 0) {
      ::setpgid(0, 0);
      ::tcsetpgrp(terminal, ::getpid());
      ::signal(SIGTTOU, SIG_DFL);
      for (const int stream : {0, 1, 2}) ::dup2(terminal, stream);
      if (terminal > 2) ::close(terminal);
      become(command);
    }
    int status = 0;
    while (::waitpid(job, &status, WUNTRACED) == job) {
      if (::write(changes_[1], &status, sizeof status) != sizeof status) break;
      if (!WIFSTOPPED(status)) break;
      char order = 0;
      if (::read(orders_[0], &order, 1) != 1) break;
      ::tcsetpgrp(terminal, job);
      ::kill(-job, SIGCONT);
    }
    ::kill(-job, SIGKILL);
    ::_exit(0);
  }

  int master_ = -1;
  std::array<int, 2> changes_{-1, -1};
  std::array<int, 2> orders_{-1, -1};
  pid_t leader_ = 0;
  std::string screen_;
};

}  // namespace holdfast::run::test
