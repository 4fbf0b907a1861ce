// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "crypto/gathering.h"
#include "tls/session_ends.h"

namespace weft::test {

// An end that shares a batch with others, and drives nothing by itself.
struct BatchedEnd final : tls::PlainSink, tls::SessionOwner {
  SessionContext context;
  std::unique_ptr<Session> session;
  Bytes plain;
  Status status;
  bool done = false;

  BatchedEnd(SessionRow row, crypto::Batch* batch) {
    context.row = row;
    context.batch = batch;
    context.leaves = tls::VerifiedLeaves(0);
  }
  Status onHandshakeDone() override {
    done = true;
    return {};
  }
  Status onPlain(std::span<uint8_t> bytes) override {
    plain.insert(plain.end(), bytes.begin(), bytes.end());
    return {};
  }
  void onSessionReady() override { receive({}); }
  void receive(Bytes bytes) {
    static Bytes scratch(300 << 10);
    status = session->receive(bytes, scratch, kNow, *this);
  }
  // Null once it is aborted.
  bool open() const { return session != nullptr && status.ok(); }
  Bytes take() {
    const auto out = session->outgoing();
    const Bytes bytes(out.begin(), out.end());
    session->sent(out.size());
    return bytes;
  }
};

// A client and a server, with what is on its way between them.
struct BatchedPair {
  BatchedEnd client;
  BatchedEnd server;

  // With `ticketKeys` the server gives tickets, which `resumption` keeps and offers.
  BatchedPair(SessionRow row, crypto::Batch* batch, const std::shared_ptr<const Identity>& clientId,
              const std::shared_ptr<const Identity>& serverId, const char* expected = kCart,
              const std::shared_ptr<tls::TicketKeys>& ticketKeys = nullptr,
              const tls::Resumption& resumption = {})
      : client(row, batch), server(row, batch) {
    server.context.ticketKeys = ticketKeys;
    client.session = newClientSession(clientId, {idOf(expected)}, client.context, resumption);
    server.session = newServerSession(serverId, server.context);
    server.status = server.session->start(kNow, &server);
    client.status = client.session->start(kNow, &client);
  }
};

// Each way to compute; kernels from the first operation on.
inline std::vector<crypto::Mode> allModes() {
  std::vector<crypto::Mode> modes = crypto::gatheringModes();
  modes.insert(modes.begin(), {crypto::Mode::kOff, crypto::Mode::kScalar});
  return modes;
}

// Operations that passed the queue of `operation`.
inline uint64_t gathered(const crypto::Batch& batch, crypto::Operation operation) {
  const auto& one = batch.totals().operations[static_cast<size_t>(operation)];
  uint64_t sum = one.scalar.get();
  for (size_t i = 0; i < crypto::kLanes; i++) {
    sum += one.calls[i].get() * (i + 1);
  }
  return sum;
}

// What is on its way moves one hop further.
inline bool move(BatchedEnd& from, BatchedEnd& to) {
  if (to.session->waits() || from.session->outgoing().empty()) {
    return false;
  }
  to.receive(from.take());
  return true;
}

inline bool step(BatchedPair& pair) {
  const bool moved = move(pair.client, pair.server);
  return move(pair.server, pair.client) || moved;
}

inline void settleAll(crypto::Batch& batch) {
  while (!batch.settle(UINT64_MAX)) {
  }
}

}  // namespace weft::test
