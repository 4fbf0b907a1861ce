// SPDX-License-Identifier: Apache-2.0
#include "tls/post_handshake.h"

#include <openssl/bytestring.h>
#include <openssl/ssl.h>

namespace weft::tls {
namespace {

constexpr uint8_t kNewSessionTicket = 4;
constexpr uint8_t kKeyUpdate = 24;
constexpr size_t kHeaderBytes = 4;

size_t bodyBytes(std::span<const uint8_t> header) {
  return static_cast<size_t>(header[1]) << 16 | static_cast<size_t>(header[2]) << 8 | header[3];
}

// RFC 8446 section 4.6.1. Extensions are not looked at: there is none that we ask for.
bool isTicket(std::span<const uint8_t> body) {
  CBS cbs;
  CBS nonce;
  CBS ticket;
  CBS extensions;
  uint32_t lifetime = 0;
  uint32_t ageAdd = 0;
  CBS_init(&cbs, body.data(), body.size());
  return CBS_get_u32(&cbs, &lifetime) == 1 && CBS_get_u32(&cbs, &ageAdd) == 1 &&
         CBS_get_u8_length_prefixed(&cbs, &nonce) == 1 &&
         CBS_get_u16_length_prefixed(&cbs, &ticket) == 1 && CBS_len(&ticket) > 0 &&
         CBS_get_u16_length_prefixed(&cbs, &extensions) == 1 && CBS_len(&cbs) == 0;
}

}  // namespace

Status PostHandshake::receive(std::span<const uint8_t> content) {
  const bool joined = !partial_.empty();
  if (joined) {
    partial_.append(content);
    content = partial_.bytes();
  }
  const size_t given = content.size();
  while (content.size() >= kHeaderBytes) {
    const size_t bytes = kHeaderBytes + bodyBytes(content);
    if (bytes > kHeaderBytes + kMessageBytesMax) {
      return events_.onBreach(SSL_AD_ILLEGAL_PARAMETER, "EXCESSIVE_MESSAGE_SIZE");
    }
    if (content.size() < bytes) {
      break;
    }
    Status status = onMessage(content.first(bytes), content.size() == bytes);
    if (!status.ok()) {
      return status;
    }
    content = content.subspan(bytes);
  }
  if (joined) {
    partial_.consume(given - content.size());
    partial_.shrink();
  } else {
    partial_.append(content);
  }
  return {};
}

Status PostHandshake::onMessage(std::span<const uint8_t> message, bool lastInRecord) {
  if (++messages_ > kMessagesWithoutDataMax) {
    return events_.onBreach(SSL_AD_UNEXPECTED_MESSAGE, "handshake messages without end");
  }
  const std::span<const uint8_t> body = message.subspan(kHeaderBytes);
  if (message[0] == kKeyUpdate) {
    return onKeyUpdate(body, lastInRecord);
  }
  if (message[0] != kNewSessionTicket || !isClient_) {
    return events_.onBreach(SSL_AD_UNEXPECTED_MESSAGE, "UNEXPECTED_MESSAGE");
  }
  if (!isTicket(body)) {
    return events_.onBreach(SSL_AD_DECODE_ERROR, "a ticket that is not one");
  }
  return events_.onTicket(message);
}

Status PostHandshake::onKeyUpdate(std::span<const uint8_t> body, bool lastInRecord) {
  if (body.size() != 1) {
    return events_.onBreach(SSL_AD_DECODE_ERROR, "a KeyUpdate that is not one");
  }
  if (body[0] > 1) {
    return events_.onBreach(SSL_AD_ILLEGAL_PARAMETER, "a KeyUpdate that asks for something else");
  }
  // Section 5.1: what follows in this record would be under the old keys.
  if (!lastInRecord) {
    return events_.onBreach(SSL_AD_UNEXPECTED_MESSAGE, "a message behind KeyUpdate in its record");
  }
  return events_.onKeyUpdate(body[0] == 1);
}

}  // namespace weft::tls
