#include "holdfast/error.h"

#include <gtest/gtest.h>

#include <cerrno>
#include <cstring>
#include <set>
#include <string>

namespace holdfast {
namespace {

const Error kFull{.code = Errc::io_error,
                  .os_errno = EIO,
                  .doing = "write swap",
                  .what = "offset",
                  .value = 8192,
                  .limit = 4096,
                  .remedy = "replace the disk"};

TEST(Error, the_message_has_code_numbers_errno_and_remedy) {
  EXPECT_EQ(kFull.message(),
            "write swap: io_error: offset = 8192 (limit 4096) [EIO, Input/output error]; replace "
            "the disk");
}

TEST(Error, parts_that_are_not_there_leave_no_trace) {
  EXPECT_EQ((Error{.code = Errc::swap_full}).message(), "swap_full");
  EXPECT_EQ((Error{.code = Errc::busy, .doing = "free"}).message(), "free: busy");
  EXPECT_EQ((Error{.code = Errc::busy, .what = "pins", .value = 0}).message(), "busy: pins = 0");
}

TEST(Error, a_value_without_a_name_is_an_address) {
  EXPECT_EQ((Error{.code = Errc::not_mapped, .value = 0x7f00'0000'1000}).message(),
            "not_mapped: 0x7f0000001000");
}

TEST(Error, an_unknown_errno_is_a_number) {
  EXPECT_EQ((Error{.code = Errc::system, .os_errno = 4095}).message(), "system [errno 4095]");
}

TEST(Error, the_largest_number_fits) {
  EXPECT_EQ((Error{.code = Errc::busy, .what = "v", .value = ~0ULL, .limit = ~0ULL}).message(),
            "busy: v = 18446744073709551615 (limit 18446744073709551615)");
}

TEST(Error, format_cuts_to_every_size_and_terminates) {
  const std::string whole = kFull.message();
  for (std::size_t size = 1; size <= whole.size() + 2; ++size) {
    std::string buffer(size + 8, '#');
    const std::size_t length = kFull.format(buffer.data(), size);
    EXPECT_EQ(length, std::min(size - 1, whole.size())) << size;
    EXPECT_EQ(std::string(buffer.c_str()), whole.substr(0, length));
    EXPECT_EQ(buffer.substr(size), std::string(8, '#')) << "wrote past its end at size " << size;
  }
}

TEST(Error, a_very_long_remedy_is_cut_in_message) {
  const std::string remedy(5000, 'x');
  EXPECT_EQ((Error{.code = Errc::busy, .remedy = remedy.c_str()}).message().size(), 1023u);
}

TEST(Error, every_code_has_a_name_of_its_own) {
  std::set<std::string> names;
  for (int code = 0; code <= static_cast<int>(Errc::system); ++code) {
    const std::string text = name(static_cast<Errc>(code));
    EXPECT_NE(text, "unknown") << code;
    names.insert(text);
  }
  EXPECT_EQ(names.size(), static_cast<std::size_t>(Errc::system) + 1);
}

}  // namespace
}  // namespace holdfast
