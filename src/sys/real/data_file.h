// The real data file: a descriptor for whole blocks past the kernel's cache (O_DIRECT), where the
// file system has that, and one for the rest.
#pragma once

#include <memory>
#include <string>

#include "sys/machine.h"

namespace holdfast::sys::real {

// See Machine::open_data_file and remove_file. Task context.
[[nodiscard]] Expected<std::unique_ptr<DataFile>> open_real_data_file(
    const DataFileOptions& options);
[[nodiscard]] int remove_real_file(const std::string& path);

}  // namespace holdfast::sys::real
