// A swap with a far tier, on a store that does as a test tells it.
#pragma once

#include "swap/far_tier.h"

#include "swap_machine.h"

namespace holdfast::tests {

class FarTier : public SwapTest {
 protected:
  FarTier() : SwapTest(41) {}
  void expect_all(std::span<const swap::StoreItem> items, std::span<const PageBytes> pages) {
    for (std::size_t i = 0; i < pages.size(); ++i) {
      ASSERT_FALSE(items[i].slot.is_none()) << i << ": " << items[i].error.message();
      expect_holds(items[i].slot, pages[i]);
    }
  }
  void remake(std::vector<swap::TierOptions> tiers) {
    machine.objects.objects.clear();
    make(std::move(tiers));
  }
  ObjectScript& script = machine.objects;
};

}  // namespace holdfast::tests
