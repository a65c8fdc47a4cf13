// Real programs, with less memory than they need: their output is what it is without Holdfast.
#include <gtest/gtest.h>

#include <cstdlib>

#include "run/support.h"
#include "support/temp_directory.h"

namespace holdfast::run::test {
namespace {

class Programs : public Run {
 protected:
  // Both ways; the command is one for a shell, and ends in a checksum.
  static void compare(const std::string& memory, const std::string& program,
                      const std::string& rest) {
    if (std::system(
            ("command -v " + program.substr(0, program.find(' ')) + " >/dev/null").c_str()) != 0) {
      GTEST_SKIP() << program.substr(0, program.find(' ')) << " is not installed";
    }
    const auto native = shell(program + rest);
    const auto run =
        shell(bin("holdfast") + " run --quiet --memory " + memory + " -- " + program + rest);
    EXPECT_EQ(run.status, 0) << run.output;
    EXPECT_EQ(run.output, native.output);
  }
  tests::TempDirectory directory;
};

TEST_F(Programs, sort) {
  const std::string lines = directory.file("lines");
  ASSERT_EQ(
      std::system(("seq 1 400000 | awk '{print ($1 * 7919) % 1000003, $1}' >" + lines).c_str()), 0);
  compare("24M", "sort -S 1G " + lines, " | cksum");
}

TEST_F(Programs, perl_with_a_large_hash) {
  compare(
      "32M",
      "perl -e 'my %h; for my $i (1..150000) { $h{$i * 7919 % 1000003} .= \"v$i\" } my $s = 0; "
      "for my $k (sort { $a <=> $b } keys %h) { $s = ($s * 31 + $k + length $h{$k}) % 1000000007 } "
      "print \"$s\\n\"'",
      "");
}

TEST_F(Programs, python_with_a_large_dictionary_and_multiprocessing) {
  compare("40M",
          "python3 -c 'import multiprocessing as m\n"
          "d={i: str(i*7919) for i in range(250000)}\n"
          "def f(k): return sum(int(d[i]) for i in range(k,250000,4))\n"
          "if __name__==\"__main__\":\n"
          "  m.set_start_method(\"fork\")\n"
          "  with m.Pool(3) as p: print(sum(p.map(f,range(4))))'",
          "");
}

TEST_F(Programs, sqlite_in_memory) {
  compare(
      "24M",
      "sqlite3 :memory: 'create table t(a,b); with recursive c(x) as (select 1 union all select "
      "x+1 from c where x<200000) insert into t select x, (x*7919)%1000003 from c; create index "
      "i on t(b); select sum(a*(b%7)), count(*) from t where b > 500000;'",
      "");
}

TEST_F(Programs, xz) {
  const std::string text = directory.file("text");
  ASSERT_EQ(std::system(("seq 1 500000 >" + text).c_str()), 0);
  compare("32M", "xz -6 -T1 -c " + text, " | cksum");
}

}  // namespace
}  // namespace holdfast::run::test
