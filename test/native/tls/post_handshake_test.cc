// SPDX-License-Identifier: Apache-2.0
// base/check.h and doctest both define CHECK, and the later one counts.
// clang-format off
#include "tls/post_handshake.h"
#include "tls/test_ca.h"

#include <doctest/doctest.h>
// clang-format on
#include <openssl/ssl.h>

#include <optional>

using weft::Code;
using weft::Status;
using weft::test::Bytes;
using weft::tls::PostHandshake;

namespace {

const Bytes kUpdate = {24, 0, 0, 1, 0};
const Bytes kUpdateAsked = {24, 0, 0, 1, 1};

Bytes ticket(size_t ticketBytes = 3) {
  Bytes body = {0, 0, 0, 60, 1, 2, 3, 4, 1, 9};  // lifetime, age, nonce
  body.push_back(static_cast<uint8_t>(ticketBytes >> 8));
  body.push_back(static_cast<uint8_t>(ticketBytes));
  body.resize(body.size() + ticketBytes, 7);
  body.push_back(0);
  body.push_back(0);
  Bytes message = {4, 0, static_cast<uint8_t>(body.size() >> 8), static_cast<uint8_t>(body.size())};
  message.insert(message.end(), body.begin(), body.end());
  return message;
}

struct Peer final : weft::tls::PostHandshakeEvents {
  PostHandshake messages;
  int updates = 0;
  int answers = 0;
  std::vector<Bytes> tickets;
  std::optional<uint8_t> alert;

  explicit Peer(bool isClient) : messages(isClient, *this) {}
  Status onKeyUpdate(bool answer) override {
    updates++;
    answers += answer ? 1 : 0;
    return {};
  }
  Status onTicket(std::span<const uint8_t> message) override {
    tickets.emplace_back(message.begin(), message.end());
    return {};
  }
  Status onBreach(uint8_t with, const char* what) override {
    alert = with;
    return Status(Code::kInvalid, what);
  }
  bool take(const Bytes& content) { return messages.receive(content).ok(); }
};

std::optional<uint8_t> alertFor(const Bytes& content, bool isClient = true) {
  Peer peer(isClient);
  const bool taken = peer.take(content);
  CHECK(taken == !peer.alert.has_value());
  return peer.alert;
}

}  // namespace

TEST_CASE("KeyUpdate is read, and whether it asks for an answer") {
  Peer peer(false);
  CHECK(peer.take(kUpdate));
  CHECK(peer.take(kUpdateAsked));
  CHECK(peer.updates == 2);
  CHECK(peer.answers == 1);
}

TEST_CASE("a client takes tickets, several in a record and one in several records") {
  Peer peer(true);
  Bytes two = ticket();
  const Bytes other = ticket(300);
  two.insert(two.end(), other.begin(), other.end());
  CHECK(peer.take(two));
  CHECK(peer.tickets == std::vector<Bytes>{ticket(), other});
  for (size_t i = 0; i < other.size(); i++) {
    CHECK(peer.messages.midMessage() == (i > 0));
    CHECK(peer.take({other[i]}));
  }
  CHECK_FALSE(peer.messages.midMessage());
  CHECK(peer.tickets.size() == 3);
}

TEST_CASE("messages that no peer may send are refused with the fitting alert") {
  const struct {
    const char* name;
    Bytes content;
    uint8_t alert;
  } rows[] = {
      {"KeyUpdate without a body", {24, 0, 0, 0}, SSL_AD_DECODE_ERROR},
      {"KeyUpdate with too much", {24, 0, 0, 2, 0, 0}, SSL_AD_DECODE_ERROR},
      {"KeyUpdate that asks for 2", {24, 0, 0, 1, 2}, SSL_AD_ILLEGAL_PARAMETER},
      {"a message behind KeyUpdate", {24, 0, 0, 1, 0, 4}, SSL_AD_UNEXPECTED_MESSAGE},
      {"CertificateRequest", {13, 0, 0, 0}, SSL_AD_UNEXPECTED_MESSAGE},
      {"ClientHello", {1, 0, 0, 0}, SSL_AD_UNEXPECTED_MESSAGE},
      {"Finished", {20, 0, 0, 0}, SSL_AD_UNEXPECTED_MESSAGE},
      {"an empty ticket", ticket(0), SSL_AD_DECODE_ERROR},
      {"a ticket without fields", {4, 0, 0, 0}, SSL_AD_DECODE_ERROR},
      {"a message of 16385 bytes", {4, 0, 0x40, 0x01}, SSL_AD_ILLEGAL_PARAMETER},
  };
  for (const auto& row : rows) {
    CAPTURE(row.name);
    CHECK(alertFor(row.content) == row.alert);
  }
  CHECK_FALSE(alertFor({4, 0, 0x40, 0x00}).has_value());
  CHECK(alertFor(ticket(), false) == SSL_AD_UNEXPECTED_MESSAGE);
}

TEST_CASE("32 messages without data between them are let pass, the next is not") {
  Peer peer(true);
  for (int round = 0; round < 2; round++) {
    for (size_t i = 0; i < PostHandshake::kMessagesWithoutDataMax; i++) {
      CHECK(peer.take(i % 2 == 0 ? kUpdate : ticket()));
    }
    peer.messages.onData();
  }
  for (size_t i = 0; i < PostHandshake::kMessagesWithoutDataMax; i++) {
    CHECK(peer.take(kUpdateAsked));
  }
  CHECK_FALSE(peer.take(kUpdate));
  CHECK(peer.alert == SSL_AD_UNEXPECTED_MESSAGE);
}
