#include "worker_process.h"

#include <fmt/format.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <cstring>

#include "interruption.h"

namespace holdfast::bench {
namespace {

enum Verb : std::uint32_t { kPrepare, kRound, kReport, kQuit };

struct Command {
  std::uint32_t verb = kQuit;
  std::uint32_t part = 0;
};

enum Status : std::uint32_t { kFine, kSkipped, kFailed };

struct ReplyHead {
  std::uint32_t status = kFine;
  std::uint32_t text_bytes = 0;
  double figure = 0;
};

bool read_all(int fd, void* bytes, std::size_t size) {
  auto* at = static_cast<char*>(bytes);
  while (size > 0) {
    const ssize_t got = read(fd, at, size);
    if (got <= 0 && !(got < 0 && errno == EINTR)) return false;
    if (got > 0) at += got, size -= static_cast<std::size_t>(got);
  }
  return true;
}

bool write_all(int fd, const void* bytes, std::size_t size) {
  const auto* at = static_cast<const char*>(bytes);
  while (size > 0) {
    const ssize_t put = write(fd, at, size);
    if (put < 0 && errno != EINTR) return false;
    if (put > 0) at += put, size -= static_cast<std::size_t>(put);
  }
  return true;
}

bool send_reply(int fd, const Result<double>& figure, const std::string& text) {
  const std::string& words = figure ? text : figure.error().why;
  ReplyHead head;
  head.text_bytes = static_cast<std::uint32_t>(words.size());
  if (figure) {
    head.figure = *figure;
  } else {
    head.status = figure.error().kind == TroubleKind::skipped ? kSkipped : kFailed;
  }
  return write_all(fd, &head, sizeof head) && write_all(fd, words.data(), words.size());
}

bool serve(Worker& worker, const Command& command, int replies) {
  switch (command.verb) {
    case kPrepare: {
      const Result<void> done = worker.prepare();
      if (!done) return send_reply(replies, std::unexpected(done.error()), {});
      return send_reply(replies, 0.0, {});
    }
    case kRound:
      return send_reply(replies, worker.round(command.part), {});
    default:
      return send_reply(replies, 0.0, worker.report());
  }
}

// The child's whole life. Never returns into the parent's program.
[[noreturn]] void live(const WorkerProcess::Factory& factory, int commands, int replies,
                       pid_t parent) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != parent) _exit(1);  // the parent died before the line above
  restore_default_signals();
  Command command;
  if (!read_all(commands, &command, sizeof command)) _exit(1);
  {
    const std::unique_ptr<Worker> worker = factory();
    while (command.verb != kQuit) {
      if (!serve(*worker, command, replies)) _exit(1);
      if (!read_all(commands, &command, sizeof command)) _exit(1);
    }
  }
  _exit(0);
}

}  // namespace

Result<std::unique_ptr<WorkerProcess>> WorkerProcess::start(const Factory& factory) {
  int commands[2];
  int replies[2];
  if (pipe(commands) != 0) return system_trouble("pipe");
  if (pipe(replies) != 0) {
    close(commands[0]), close(commands[1]);
    return system_trouble("pipe");
  }
  std::fflush(nullptr);  // or the child would print it again
  const pid_t parent = getpid();
  const pid_t pid = fork();
  if (pid == 0) {
    close(commands[1]), close(replies[0]);
    live(factory, commands[0], replies[1], parent);
  }
  close(commands[0]), close(replies[1]);
  if (pid < 0) {
    close(commands[1]), close(replies[0]);
    return system_trouble("fork");
  }
  return std::unique_ptr<WorkerProcess>(new WorkerProcess(pid, commands[1], replies[0]));
}

WorkerProcess::~WorkerProcess() {
  if (pid_ > 0) {
    kill(pid_, SIGKILL);
    waitpid(pid_, nullptr, 0);
  }
  close(commands_);
  close(replies_);
}

Result<void> WorkerProcess::prepare() {
  auto reply = ask(kPrepare, 0);
  if (!reply) return std::unexpected(reply.error());
  return {};
}

Result<double> WorkerProcess::round(unsigned part) {
  auto reply = ask(kRound, part);
  if (!reply) return std::unexpected(reply.error());
  return reply->figure;
}

Result<std::string> WorkerProcess::report() {
  auto reply = ask(kReport, 0);
  if (!reply) return std::unexpected(reply.error());
  return std::move(reply->text);
}

Result<void> WorkerProcess::finish() {
  const Command command{kQuit, 0};
  if (!write_all(commands_, &command, sizeof command)) return std::unexpected(death());
  // The end of its replies is the end of the child, and can be waited for with signals let in.
  if (auto gone = wait_readable(replies_); !gone) return gone;
  int status = 0;
  waitpid(std::exchange(pid_, -1), &status, 0);
  if (status == 0) return {};
  return failure(fmt::format("a worker did not leave cleanly (wait status {:#x})", status));
}

Result<WorkerProcess::Reply> WorkerProcess::ask(std::uint32_t verb, std::uint32_t part) {
  const Command command{verb, part};
  if (!write_all(commands_, &command, sizeof command)) return std::unexpected(death());
  ReplyHead head;
  if (auto got = receive(&head, sizeof head); !got) return std::unexpected(got.error());
  Reply reply{.figure = head.figure, .text = std::string(head.text_bytes, '\0')};
  if (auto got = receive(reply.text.data(), reply.text.size()); !got) {
    return std::unexpected(got.error());
  }
  if (head.status == kSkipped) return skip(reply.text);
  if (head.status == kFailed) return failure(reply.text);
  return reply;
}

Result<void> WorkerProcess::receive(void* bytes, std::size_t size) {
  if (size == 0) return {};
  if (auto ready = wait_readable(replies_); !ready) return ready;
  if (!read_all(replies_, bytes, size)) return std::unexpected(death());
  return {};
}

Trouble WorkerProcess::death() {
  int status = 0;
  if (pid_ > 0) waitpid(std::exchange(pid_, -1), &status, 0);
  std::string why = fmt::format("a worker ended with exit code {}", WEXITSTATUS(status));
  if (WIFSIGNALED(status)) {
    const int number = WTERMSIG(status);
    why = fmt::format("a worker was killed by signal {} ({}){}", number, strsignal(number),
                      number == SIGKILL ? ": out of memory?" : "");
  }
  // Ctrl-C in a terminal reaches the child as well: then that is the reason.
  if (auto fine = check_interruption(); !fine) return fine.error();
  return {TroubleKind::failed, std::move(why)};
}

}  // namespace holdfast::bench
