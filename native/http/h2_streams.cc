// SPDX-License-Identifier: Apache-2.0
#include "http/h2_streams.h"

#include <algorithm>

#include "base/check.h"

namespace weft::http {
namespace {

constexpr size_t kSlotsMin = 2;
constexpr size_t kSlotsKept = 8;  // of an empty table

}  // namespace

OwnStream* StreamTable::find(StreamId id) {
  if (slots_.empty()) {
    return nullptr;
  }
  for (size_t at = homeOf(id); slots_[at].id != 0; at = (at + 1) & (slots_.size() - 1)) {
    if (slots_[at].id == id) {
      return &slots_[at];
    }
  }
  return nullptr;
}

OwnStream& StreamTable::place(const OwnStream& stream) {
  size_t at = homeOf(stream.id);
  while (slots_[at].id != 0) {
    at = (at + 1) & (slots_.size() - 1);
  }
  slots_[at] = stream;
  return slots_[at];
}

void StreamTable::resize(size_t slots) {
  std::vector<OwnStream> old(slots);
  old.swap(slots_);
  for (const OwnStream& stream : old) {
    if (stream.id != 0) {
      place(stream);
    }
  }
}

OwnStream& StreamTable::insert(StreamId id) {
  CHECK(id > 0);
  if ((size_ + 1) * 4 > slots_.size() * 3) {
    resize(std::max(kSlotsMin, slots_.size() * 2));
  }
  size_++;
  OwnStream stream;
  stream.id = id;
  return place(stream);
}

void StreamTable::erase(StreamId id) {
  OwnStream* stream = find(id);
  CHECK(stream != nullptr);
  const size_t mask = slots_.size() - 1;
  auto hole = static_cast<size_t>(stream - slots_.data());
  // Closes the gap, so that a look-up may stop at the first free slot.
  for (size_t at = (hole + 1) & mask; slots_[at].id != 0; at = (at + 1) & mask) {
    const size_t home = homeOf(slots_[at].id);
    if (((at - home) & mask) >= ((at - hole) & mask)) {
      slots_[hole] = slots_[at];
      hole = at;
    }
  }
  slots_[hole] = OwnStream();
  size_--;
  if (slots_.size() > kSlotsKept && size_ * 8 < slots_.size()) {
    resize(slots_.size() / 2);
  }
}

std::vector<StreamId> StreamTable::ids() const {
  std::vector<StreamId> all;
  all.reserve(size_);
  for (const OwnStream& slot : slots_) {
    if (slot.id != 0) {
      all.push_back(slot.id);
    }
  }
  std::sort(all.begin(), all.end());
  return all;
}

}  // namespace weft::http
