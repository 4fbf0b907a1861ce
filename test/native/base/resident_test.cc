// SPDX-License-Identifier: Apache-2.0
#include "base/resident.h"

#include <doctest/doctest.h>

#include <fstream>
#include <iterator>
#include <string>

using weft::cleanFileRanges;

namespace {

std::string entry(const std::string& head, int anonymousKb) {
  return head + "\nSize:   8 kB\nRss:    8 kB\nAnonymous:    " + std::to_string(anonymousKb) +
         " kB\nVmFlags: rd ex\n";
}

long fileKb() {
  std::ifstream file("/proc/self/status");
  const std::string text{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  return std::stol(text.substr(text.find("RssFile:") + 8));
}

}  // namespace

TEST_CASE("only a file's own pages that were never written are given back") {
  const std::string program = "08:01 42      /usr/bin/node";
  const std::string smaps = entry("00400000-00500000 r-xp 00000000 " + program, 0) +
                            entry("00500000-00600000 r--p 00100000 " + program, 0) +
                            entry("00600000-00700000 r--p 00200000 " + program, 4) +
                            entry("00700000-00800000 rw-p 00300000 " + program, 0) +
                            entry("00800000-00900000 r--s 00400000 " + program, 0) +
                            entry("7f00000000-7f00100000 r-xp 00000000 00:00 0 ", 0) +
                            entry("7f00200000-7f00300000 r-xp 00000000 00:00 0 [vdso]", 0);
  const auto ranges = cleanFileRanges(smaps);
  REQUIRE(ranges.size() == 2);
  CHECK(ranges[0].begin == 0x400000);
  CHECK(ranges[0].end == 0x500000);
  CHECK(ranges[1].begin == 0x500000);
}

TEST_CASE("text that is no map gives nothing back") {
  for (const char* text : {"", "\n", "x", "g-h r-xp 0 0 1 /x\nAnonymous: 0 kB\n",
                           "1000-2000 r-xp\nAnonymous: 0 kB\n", "Anonymous: 0 kB\n"}) {
    CHECK(cleanFileRanges(text).empty());
  }
}

TEST_CASE("the process goes on with fewer pages of its program") {
  const long before = fileKb();
  CHECK(weft::releaseStartPages() > 0);
  CHECK(fileKb() < before);
}
