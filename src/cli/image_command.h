// `holdfast image info|verify FILE`: what a memory image holds, and whether all of it is sound.
//
// Flow: describe() opens an image and its bases -> as_text() or as_json(); verify() reads every
// byte of them too. An image whose base cannot be found is described and verified by itself, and
// the report says so.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "image/image.h"
#include "sys/sys.h"

namespace holdfast::cli {

// What one image file says of itself.
struct ImageSummary {
  std::string id, base;  // 32 hexadecimal digits; base: empty where the image is full
  std::uint32_t version = 0;
  std::uint64_t regions = 0;
  std::uint64_t pages = 0;  // of memory
  std::uint64_t data_pages = 0, zero_pages = 0, filled_pages = 0, unchanged_pages = 0;
  std::uint64_t file_bytes = 0;
  std::uint64_t stored_bytes = 0;  // of it: data pages, compressed
  std::uint64_t raw_groups = 0, lz4_groups = 0, zstd_groups = 0;
};

// An image and its bases, in order, down to a full one.
struct ImageChain {
  std::string path;
  std::vector<ImageSummary> images;  // the one at `path` first
  std::string problem;               // why the chain ends early; empty: it is whole
};

// Where to look for bases: these files, then the directory of the image.
using ImagePaths = std::vector<std::string>;

[[nodiscard]] Expected<ImageChain> describe_image(const std::string& path, const ImagePaths& bases);
[[nodiscard]] std::string as_text(const ImageChain& chain);
[[nodiscard]] std::string as_json(const ImageChain& chain);

// Told now and then: how much of how much has been proved. May be empty.
using ProgressLine = std::function<void(std::uint64_t bytes, std::uint64_t of_bytes)>;

// Proves the image at `path` byte by byte, and its bases unless `alone`. Errors: those of images.
[[nodiscard]] Expected<ImageChain> verify_image(const std::string& path, const ImagePaths& bases,
                                                bool alone, const ProgressLine& progress);

}  // namespace holdfast::cli
