// A server in a process of its own, and a client of it, for tests.
#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace kv::tests {

// A fresh folder, for the socket and whatever the server saves.
class Folder {
 public:
  Folder() {
    std::string made = testing::TempDir() + "holdfast-kv-XXXXXX";
    path_ = mkdtemp(made.data());
  }
  ~Folder() { std::filesystem::remove_all(path_); }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;
  [[nodiscard]] const std::string& path() const { return path_; }

 private:
  std::string path_;
};

// Ready when it is made; killed when it goes.
class ServerProcess {
 public:
  // arguments: beside --unixsocket.
  ServerProcess(const std::string& folder, std::vector<std::string> arguments)
      : socket_path_(folder + "/socket") {
    const auto self = std::filesystem::read_symlink("/proc/self/exe");
    const std::string program = (self.parent_path() / "kv").string();
    arguments.insert(arguments.begin(), {program, "--unixsocket", socket_path_});
    int output[2];
    if (pipe2(output, O_CLOEXEC) != 0) return;
    pid_ = fork();
    if (pid_ == 0) {
      prctl(PR_SET_PDEATHSIG, SIGKILL);
      dup2(output[1], STDOUT_FILENO);
      dup2(output[1], STDERR_FILENO);
      std::vector<char*> words;
      for (auto& argument : arguments) words.push_back(argument.data());
      words.push_back(nullptr);
      execv(program.c_str(), words.data());
      _exit(127);
    }
    close(output[1]);
    output_ = output[0];
    read_until("ready to accept connections");
  }
  ~ServerProcess() {
    end(SIGKILL);
    if (output_ >= 0) close(output_);
  }
  ServerProcess(const ServerProcess&) = delete;
  ServerProcess& operator=(const ServerProcess&) = delete;

  [[nodiscard]] const std::string& socket_path() const { return socket_path_; }
  // What it has printed so far.
  [[nodiscard]] const std::string& output() const { return said_; }
  [[nodiscard]] pid_t pid() const { return pid_; }

  // Sends the signal (0: none, it ends by itself) and waits. Exit status, or 128 + signal.
  int end(int signal) {
    if (pid_ <= 0) return status_;
    if (signal != 0) kill(pid_, signal);
    int status = 0;
    waitpid(std::exchange(pid_, -1), &status, 0);
    read_until({});
    return status_ = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  }

 private:
  // Reads until the words have come, or to the end.
  void read_until(std::string_view words) {
    char buffer[4096];
    while (words.empty() || said_.find(words) == std::string::npos) {
      const ssize_t got = read(output_, buffer, sizeof buffer);
      if (got <= 0) return;
      said_.append(buffer, static_cast<std::size_t>(got));
    }
  }

  std::string socket_path_;
  std::string said_;
  pid_t pid_ = -1;
  int output_ = -1;
  int status_ = -1;
};

// A connection; blocks. Fails by returning less than was asked for.
class Client {
 public:
  explicit Client(const std::string& path) {
    sockaddr_un address = {};
    address.sun_family = AF_UNIX;
    path.copy(address.sun_path, sizeof address.sun_path - 1);
    socket_ = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (connect(socket_, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) {
      ADD_FAILURE() << "no server on " << path;
    }
  }
  ~Client() { close(socket_); }
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;

  // False: the server does not listen any more.
  bool send_raw(std::string_view bytes) {
    while (!bytes.empty()) {
      const ssize_t put = send(socket_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (put <= 0) return false;
      bytes.remove_prefix(static_cast<std::size_t>(put));
    }
    return true;
  }
  // As many as can be sent at once without waiting for the server.
  std::size_t send_some(std::string_view bytes) {
    const ssize_t put = send(socket_, bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    return put < 0 ? 0 : static_cast<std::size_t>(put);
  }
  void end_sending() { shutdown(socket_, SHUT_WR); }

  bool send_request(const std::vector<std::string>& words) {
    std::string text = "*" + std::to_string(words.size()) + "\r\n";
    for (const auto& word : words) {
      text += "$" + std::to_string(word.size()) + "\r\n" + word + "\r\n";
    }
    return send_raw(text);
  }

  // One reply: the text of a line or a bulk with its type in front ("+OK", "-ERR ...", ":1",
  // "$value"), "$-1" for null, "*[a b]" for an array; empty: the connection has ended.
  std::string reply() {
    std::string line = read_line();
    if (line.starts_with("$") && line != "$-1") {
      const std::size_t bytes = std::stoull(line.substr(1));
      return "$" + read_bytes(bytes + 2).substr(0, bytes);
    }
    if (!line.starts_with("*")) return line;
    std::string all = "*[";
    for (int left = std::stoi(line.substr(1)); left > 0; --left)
      all += reply() + (left > 1 ? " " : "");
    return all + "]";
  }
  std::string ask(const std::vector<std::string>& words) {
    return send_request(words) ? reply() : "";
  }
  // All that comes until the server closes.
  std::string rest() {
    while (fill()) {
    }
    return std::exchange(buffer_, {});
  }

 private:
  bool fill() {
    char bytes[65536];
    const ssize_t got = recv(socket_, bytes, sizeof bytes, 0);
    if (got > 0) buffer_.append(bytes, static_cast<std::size_t>(got));
    return got > 0;
  }
  std::string read_line() {
    std::size_t end;
    while ((end = buffer_.find("\r\n")) == std::string::npos) {
      if (!fill()) return {};
    }
    std::string line = buffer_.substr(0, end);
    buffer_.erase(0, end + 2);
    return line;
  }
  std::string read_bytes(std::size_t bytes) {
    while (buffer_.size() < bytes) {
      if (!fill()) return {};
    }
    std::string read = buffer_.substr(0, bytes);
    buffer_.erase(0, bytes);
    return read;
  }

  int socket_;
  std::string buffer_;
};

}  // namespace kv::tests
