#include "transfer/fio_peer.h"

#include <fmt/format.h>

#include <cstdlib>
#include <nlohmann/json.hpp>

#include "command.h"

namespace holdfast::bench {
namespace {

class Fio final : public Worker {
 public:
  explicit Fio(const FioJob& job) : job_(job) {}

  Result<void> prepare() override {
    const Said said = run_command("fio --version 2>/dev/null");
    if (said.status != 0) return skip("fio is not installed (tools/install_packages bench)");
    version_ = said.text.substr(0, said.text.find('\n'));
    return {};
  }
  Result<double> round(unsigned) override {
    const char* const kind = job_.writes ? "write" : "read";
    const Said said = run_command(fmt::format(
        "fio --name=peer --filename='{}' --size={} --rw=rand{} --bs=4k --direct=1 "
        "--ioengine=io_uring --iodepth={} --norandommap --randrepeat=0 --time_based --runtime={} "
        "--group_reporting --output-format=json 2>/dev/null",
        job_.path, job_.file_bytes, kind, job_.depth, job_.seconds));
    const auto json = nlohmann::json::parse(said.text, nullptr, false);
    if (said.status != 0 || json.is_discarded()) return failure("fio failed: " + said.text);
    const double iops = json["jobs"][0][kind]["iops"].get<double>();
    if (!(iops > 0)) return failure("fio transferred nothing");
    return iops / 1e3;
  }
  std::string report() override {
    return fmt::format("peer: {} --ioengine=io_uring --direct=1 --bs=4k --iodepth={}", version_,
                       job_.depth);
  }

 private:
  FioJob job_;
  std::string version_;
};

}  // namespace

std::unique_ptr<Worker> make_fio(const FioJob& job) { return std::make_unique<Fio>(job); }

}  // namespace holdfast::bench
