// Images in files: found by their ids, and told from other files.
#include <fstream>

#include "image_fixture.h"
#include "support/temp_directory.h"

namespace holdfast::image::test {
namespace {

class ImageFile : public testing::Test {
 protected:
  ImageFile() : memory({200}) {
    for (Page& page : memory.pages) page = chance_page(chance, 8);
  }
  void save(const std::string& name, Reader* base = nullptr) {
    auto sink = sys::replace_file(directory.file(name));
    ASSERT_TRUE(sink);
    ASSERT_TRUE(write_image(sys::real_machine(), memory, **sink, {.base = base}));
  }
  Expected<std::unique_ptr<Reader>> open(const std::string& name,
                                         std::vector<std::string> bases = {},
                                         const std::string& in = "") {
    auto source = sys::open_byte_source(directory.file(name));
    if (!source) return std::unexpected(source.error());
    NameFinder finder(std::move(bases), in);
    return open_chain(sys::real_machine(), std::move(*source), finder);
  }
  std::mt19937_64 chance{9};
  tests::TempDirectory directory;
  Memory memory;
};

TEST_F(ImageFile, BasesAreFoundAmongTheFilesGivenAndInADirectory) {
  save("monday");
  memory.pages[1] = chance_page(chance, 8);
  save("tuesday", open("monday").value().get());
  memory.pages[2] = chance_page(chance, 8);
  const std::string monday = directory.file("monday"), tuesday = directory.file("tuesday");
  save("wednesday", open("tuesday", {monday}).value().get());
  std::ofstream(directory.file("a-note")) << "no image";
  for (const auto& image :
       {open("wednesday", {monday, tuesday}), open("wednesday", {tuesday, monday}),
        open("wednesday", {}, directory.path()), open("wednesday", {tuesday}, directory.path())}) {
    ASSERT_TRUE(image) << image.error().message();
    expect_equal(**image, memory.pages);
  }
  EXPECT_EQ(open("wednesday").error().code, Errc::not_found);
  EXPECT_EQ(open("wednesday", {tuesday}).error().code, Errc::not_found);
  EXPECT_EQ(open("wednesday", {directory.file("none")}).error().code, Errc::not_found);
}

TEST_F(ImageFile, AnImageThatWasReplacedIsStillReadByWhoHasItOpen) {
  save("image");
  const auto image = open("image").value();
  const std::vector<Page> before = memory.pages;
  memory.randomize(chance);
  save("image");
  expect_equal(*image, before);
  const auto again = open("image").value();
  expect_equal(*again, memory.pages);
}

TEST_F(ImageFile, OtherFilesAreForeign) {
  std::ofstream(directory.file("text")) << std::string(100'000, 't');
  std::ofstream(directory.file("empty")).flush();
  EXPECT_EQ(open("text").error().code, Errc::invalid_argument);
  EXPECT_EQ(open("empty").error().code, Errc::invalid_argument);
}

}  // namespace
}  // namespace holdfast::image::test
