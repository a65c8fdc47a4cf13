// What the shim asks of the pager for its program.
#pragma once

namespace holdfast::run::shim {

// Has the pager register what is mapped by now. False: there is no pager.
bool have_mappings_looked_at() noexcept;

}  // namespace holdfast::run::shim
