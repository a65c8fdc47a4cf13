// Names of images in pools, as users write them.
#include <gtest/gtest.h>

#include "image/image.h"

namespace holdfast::image::test {
namespace {

TEST(ImageName, SaysPoolNamespaceNameUserAndConfiguration) {
  const auto least = sys::parse_image_name("rados:images/monday");
  ASSERT_TRUE(least);
  EXPECT_EQ(least->pool, "images");
  EXPECT_EQ(least->name_space, "");
  EXPECT_EQ(least->image, "monday");
  EXPECT_EQ(least->user, "admin");
  EXPECT_EQ(least->configuration, "");
  const auto most = sys::parse_image_name("rados:jobs@images/nightly/monday@/etc/ceph/o@er.conf");
  ASSERT_TRUE(most);
  EXPECT_EQ(most->user, "jobs");
  EXPECT_EQ(most->pool, "images");
  EXPECT_EQ(most->name_space, "nightly");
  EXPECT_EQ(most->image, "monday");
  EXPECT_EQ(most->configuration, "/etc/ceph/o@er.conf");
}

TEST(ImageName, IsRefusedWithTheFormThatItShouldHave) {
  const std::string long_name = "rados:p/" + std::string(201, 'n');
  for (const std::string& bad :
       {std::string("rados:"), std::string("rados:pool"), long_name, std::string("rados:p//n"),
        std::string("rados:p/a/b/c"), std::string("rados:@p/n"), std::string("rados:p/n@")}) {
    const auto refused = sys::parse_image_name(bad);
    ASSERT_FALSE(refused) << bad;
    EXPECT_EQ(refused.error().code, Errc::invalid_argument);
    EXPECT_NE(refused.error().message().find("rados:[USER@]POOL[/NAMESPACE]/NAME[@CONF]"),
              std::string::npos);
  }
  EXPECT_FALSE(sys::is_far_name("/backup/rados:monday"));
}

TEST(ImageName, ItsPlaceIsWhereBasesAreLookedFor) {
  EXPECT_EQ(place_of("/backup/monday"), "/backup");
  EXPECT_EQ(place_of("/monday"), "/");
  EXPECT_EQ(place_of("monday"), ".");
  EXPECT_EQ(place_of("rados:images/monday"), "rados:images/monday");
}

TEST(ImageName, ALabelIsReadAsItWasWritten) {
  const FarLabel label{.id = {1, ~0ULL}, .base = {0xabcdef, 7}};
  EXPECT_EQ(label_in(text_of(label)).id, label.id);
  EXPECT_EQ(label_in(text_of(label)).base, label.base);
  EXPECT_TRUE(label_in("anything").id.is_none());
}

}  // namespace
}  // namespace holdfast::image::test
