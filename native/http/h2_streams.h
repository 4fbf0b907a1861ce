// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "http/h2.h"
#include "http/h2_window.h"

namespace weft::http {

/// What our own framing knows of one open stream.
struct OwnStream {
  StreamId id = 0;            ///< 0: a free slot
  int32_t sendWindow = 0;     ///< Below zero after the peer's SETTINGS took some back.
  int32_t receiveWindow = 0;  ///< What the peer may still send.
  uint32_t unconsumed = 0;    ///< Given by onData(), not yet answered by consumed().
  uint32_t unreturned = 0;    ///< Consumed, and not yet given back by WINDOW_UPDATE.
  ReceiveWindow window;
  bool answered = false;  ///< Server: respond() was called; client: the final response came.
  bool ending = false;    ///< end() was called; on the wire unless the answer is still missing.
  bool ended = false;     ///< END_STREAM was received.
  bool starved = false;   ///< reserve() came back empty: onSendable() is owed.
};

/// The open streams, in one block of memory that is found by the id's own digits: ids come in
/// sequence, so they hardly ever collide. Pointers are void after insert() and erase().
class StreamTable {
 public:
  size_t size() const { return size_; }
  OwnStream* find(StreamId id);
  /// `id` is positive and not in the table.
  OwnStream& insert(StreamId id);
  /// `id` is in the table.
  void erase(StreamId id);
  /// All ids, ascending.
  std::vector<StreamId> ids() const;
  template <typename F>
  void forEach(F&& visit) {
    for (OwnStream& slot : slots_) {
      if (slot.id != 0) {
        visit(slot);
      }
    }
  }

 private:
  size_t homeOf(StreamId id) const { return (static_cast<size_t>(id) >> 1) & (slots_.size() - 1); }
  OwnStream& place(const OwnStream& stream);
  void resize(size_t slots);

  std::vector<OwnStream> slots_;  // a power of two, at most three quarters of it taken
  size_t size_ = 0;
};

}  // namespace weft::http
