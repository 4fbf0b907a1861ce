// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>

#include "base/buffer.h"
#include "base/status.h"

namespace weft::tls {

/// Takes the messages that a peer may send after the handshake.
class PostHandshakeEvents {
 public:
  virtual ~PostHandshakeEvents() = default;
  /// All that follows is under the peer's next keys; it asks for new ones of ours when `answer`.
  virtual Status onKeyUpdate(bool answer) = 0;
  /// A client's: a whole NewSessionTicket message, header included, whose fields are all there.
  virtual Status onTicket(std::span<const uint8_t> message) = 0;
  /// The peer broke the rules in the way that `alert` names. Returns what receive() answers.
  virtual Status onBreach(uint8_t alert, const char* what) = 0;
};

/// Reads the handshake messages after a handshake (RFC 8446 section 4.6): KeyUpdate, and for a
/// client NewSessionTicket. Refuses all others, and floods. Sans-I/O; not thread safe.
class PostHandshake {
 public:
  /// A message's body: as much as the TLS library takes.
  static constexpr size_t kMessageBytesMax = 16384;
  /// Messages that a peer may send without any data between them.
  static constexpr size_t kMessagesWithoutDataMax = 32;

  PostHandshake(bool isClient, PostHandshakeEvents& events)
      : isClient_(isClient), events_(events) {}

  /// Takes the content of one handshake record.
  Status receive(std::span<const uint8_t> content);
  /// True while a message has come in part: no other record may come in between (section 5.1).
  bool midMessage() const { return !partial_.empty(); }
  /// Application data came: floods are counted anew.
  void onData() { messages_ = 0; }

 private:
  Status onMessage(std::span<const uint8_t> message, bool lastInRecord);
  Status onKeyUpdate(std::span<const uint8_t> body, bool lastInRecord);

  const bool isClient_;
  PostHandshakeEvents& events_;
  Buffer partial_;
  size_t messages_ = 0;
};

}  // namespace weft::tls
