// One side of cow/kv and cow/save: a server with the data set in it, its load and its saves.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "kv/dataset.h"
#include "kv/load_generator.h"
#include "kv/server_process.h"
#include "worker_process.h"

namespace holdfast::bench {

// What a round() does. The last ones tell more of the rounds of kLoadedSave, one after the other.
enum SavingPart : unsigned {
  kLoadedSave,   // BGSAVE under load: the 99.9th percentile of the latency meanwhile, us
  kLoadAlone,    // two seconds of the same load without a save: the same percentile, us
  kSaveAlone,    // BGSAVE of an idle server: MB of keys and values per second
  kToldMedian,   // the median latency, us
  kToldLongest,  // the longest, us
  kToldRate,     // SETs per second, thousands
  kToldSeconds,  // how long the save took, s
};

class SavingServer : public Worker {
 public:
  SavingServer(ServerSettings settings, std::uint64_t keys, std::uint64_t value_bytes)
      : settings_(std::move(settings)), keys_(keys), value_bytes_(value_bytes) {}

  [[nodiscard]] Result<void> prepare() override;
  [[nodiscard]] Result<double> round(unsigned part) override;
  [[nodiscard]] std::string report() override;

 private:
  struct Facts {
    double high, median, longest, rate, seconds;
  };
  [[nodiscard]] Result<void> fill();
  [[nodiscard]] Result<double> load(bool with_save);
  // Starts a BGSAVE and waits for its end; seconds.
  [[nodiscard]] Result<double> save();
  [[nodiscard]] Result<double> steer(LoadGenerator::Steering& steering, bool with_save);

  ServerSettings settings_;
  std::uint64_t keys_;
  std::uint64_t value_bytes_;
  std::optional<Dataset> dataset_;
  std::unique_ptr<ServerProcess> server_;
  std::unique_ptr<LoadGenerator> generator_;
  std::vector<Facts> told_;        // of the rounds of kLoadedSave
  std::size_t next_told_[4] = {};  // for each kTold...
};

}  // namespace holdfast::bench
