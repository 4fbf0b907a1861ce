// SPDX-License-Identifier: Apache-2.0
#include "base/resident.h"

#include <malloc.h>
#include <sys/mman.h>

#include <algorithm>
#include <charconv>
#include <fstream>
#include <iterator>
#include <optional>
#include <string>

namespace weft {
namespace {

std::string_view nextWord(std::string_view& line) {
  line.remove_prefix(std::min(line.find_first_not_of(' '), line.size()));
  const size_t end = std::min(line.find(' '), line.size());
  const std::string_view word = line.substr(0, end);
  line.remove_prefix(end);
  return word;
}

template <typename Number>
bool readNumber(std::string_view text, int base, Number& out) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), out, base);
  return error == std::errc() && end == text.data() + text.size();
}

// A head is "begin-end perms offset device inode path". Of one that may be clean, its range.
std::optional<MappedRange> candidate(std::string_view line) {
  const std::string_view range = nextWord(line);
  const std::string_view permissions = nextWord(line);
  nextWord(line);
  nextWord(line);
  const std::string_view inode = nextWord(line);
  const size_t dash = range.find('-');
  MappedRange out;
  if (dash == std::string_view::npos || permissions.size() != 4 || inode.empty() ||
      !readNumber(range.substr(0, dash), 16, out.begin) ||
      !readNumber(range.substr(dash + 1), 16, out.end)) {
    return std::nullopt;
  }
  const bool isFile = inode != "0" && nextWord(line).starts_with('/');
  const bool mayBeClean = permissions[0] == 'r' && permissions[1] == '-' && permissions[3] == 'p';
  return isFile && mayBeClean ? std::optional(out) : std::nullopt;
}

bool isHead(std::string_view line) {
  return line.find(':') > line.find(' ');
}

}  // namespace

std::vector<MappedRange> cleanFileRanges(std::string_view smaps) {
  constexpr std::string_view kAnonymous = "Anonymous:";
  std::vector<MappedRange> found;
  std::optional<MappedRange> last;
  while (!smaps.empty()) {
    std::string_view line = smaps.substr(0, smaps.find('\n'));
    smaps.remove_prefix(std::min(line.size() + 1, smaps.size()));
    if (isHead(line)) {
      last = candidate(line);
    } else if (last && line.starts_with(kAnonymous)) {
      line.remove_prefix(kAnonymous.size());
      if (nextWord(line) == "0") {
        found.push_back(*last);
      }
      last.reset();
    }
  }
  return found;
}

size_t releaseStartPages() {
  std::ifstream file("/proc/self/smaps");
  const std::string text{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  size_t given = 0;
  for (const MappedRange& range : cleanFileRanges(text)) {
    const size_t size = range.end - range.begin;
    if (::madvise(reinterpret_cast<void*>(range.begin), size, MADV_DONTNEED) == 0) {
      given += size;
    }
  }
  ::malloc_trim(0);
  return given;
}

}  // namespace weft
