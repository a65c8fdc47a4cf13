#include "cli/image_command.h"

#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "image/image_fixture.h"
#include "support/run_program.h"
#include "support/temp_directory.h"

namespace holdfast::cli {
namespace {

using image::test::Memory;
using tests::run_program;

class ImageCommand : public testing::Test {
 protected:
  ImageCommand() : memory({32, 32}) {
    std::mt19937_64 chance(1);
    for (int i = 0; i < 10; ++i) memory.pages[i] = image::test::chance_page(chance, 8);
    memory.pages[20] = image::test::filled_page(5);
    save("full", nullptr);
    memory.pages[1] = image::test::chance_page(chance, 64);
    auto full = image::Reader::open(sys::real_machine(),
                                    sys::open_byte_source(directory.file("full")).value());
    save("later", full.value().get());
  }
  void save(const std::string& name, image::Reader* base) {
    auto sink = sys::replace_file(directory.file(name)).value();
    ASSERT_TRUE(image::write_image(sys::real_machine(), memory, *sink, {.base = base}));
  }
  void flip(const std::string& name, long at) {
    std::fstream file(directory.file(name), std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(at);
    file.put('!');
  }
  [[nodiscard]] tests::ProgramResult run(const std::string& what, const std::string& name,
                                         const std::string& more = "") const {
    return run_program("holdfast", "image " + what + " " + directory.file(name) + " " + more);
  }
  tests::TempDirectory directory;
  Memory memory;
};

TEST_F(ImageCommand, info_says_what_an_image_and_its_bases_hold) {
  const auto chain = describe_image(directory.file("later"), {}).value();
  ASSERT_EQ(chain.images.size(), 2u);
  EXPECT_TRUE(chain.problem.empty());
  EXPECT_EQ(chain.images[0].base, chain.images[1].id);
  EXPECT_EQ(chain.images[0].data_pages, 1u);
  EXPECT_EQ(chain.images[0].unchanged_pages, 9u);
  EXPECT_EQ(chain.images[0].raw_groups, 1u);
  EXPECT_EQ(chain.images[1].data_pages, 10u);
  EXPECT_EQ(chain.images[1].zero_pages, 53u);
  EXPECT_EQ(chain.images[1].filled_pages, 1u);
  EXPECT_EQ(chain.images[1].regions, 2u);
  const auto result = run("info", "later");
  EXPECT_EQ(result.status, 0) << result.output;
  EXPECT_NE(result.output.find("none: a full image"), std::string::npos) << result.output;
  EXPECT_NE(result.output.find("9 pages, 36.0 KiB, as in the base"), std::string::npos)
      << result.output;
}

TEST_F(ImageCommand, json_is_json) {
  const auto json = nlohmann::json::parse(run("info", "later", "--json").output, nullptr, false);
  ASSERT_FALSE(json.is_discarded());
  EXPECT_EQ(json["images"].size(), 2u);
  EXPECT_TRUE(json["whole"].get<bool>());
}

TEST_F(ImageCommand, verify_proves_a_chain) {
  const auto result = run("verify", "later");
  EXPECT_EQ(result.status, 0) << result.output;
  EXPECT_NE(result.output.find("sound"), std::string::npos);
}

TEST_F(ImageCommand, verify_names_the_damage_and_its_offset) {
  flip("full", 300);
  const auto result = run("verify", "full");
  EXPECT_EQ(result.status, 1);
  EXPECT_NE(result.output.find("corrupted: checksum of a group, at offset = 128"),
            std::string::npos)
      << result.output;
  EXPECT_EQ(run("verify", "later").status, 1) << "its base is damaged";
  EXPECT_EQ(run("verify", "later", "--alone").status, 0) << "it is not";
}

TEST_F(ImageCommand, a_missing_base_is_told) {
  ASSERT_TRUE(std::filesystem::remove(directory.file("full")));
  const auto result = run("info", "later");
  EXPECT_EQ(result.status, 1);
  EXPECT_NE(result.output.find("the chain is not whole"), std::string::npos) << result.output;
}

TEST_F(ImageCommand, what_is_no_image_is_refused) {
  EXPECT_EQ(run("info", "none").status, 1);
  std::ofstream(directory.file("text")) << "no image";
  const auto result = run("verify", "text");
  EXPECT_EQ(result.status, 1);
  EXPECT_NE(result.output.find("no memory image begins so"), std::string::npos) << result.output;
  EXPECT_EQ(run_program("holdfast", "image").status, 2);
  EXPECT_EQ(run_program("holdfast", "image info").status, 2);
}

}  // namespace
}  // namespace holdfast::cli
