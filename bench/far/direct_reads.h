// The peer of far/read: rados_read() of 4 KiB at random places of objects, one after the other.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "worker_process.h"

namespace holdfast::bench {

struct DirectReadsJob {
  std::string configuration;
  std::uint64_t bytes = 0;         // in all objects together
  std::uint64_t object_bytes = 0;  // of each
  std::uint64_t reads = 0;         // of a round
};

// A worker whose figure is microseconds a read.
[[nodiscard]] std::unique_ptr<Worker> make_direct_reads(const DirectReadsJob& job);

}  // namespace holdfast::bench
