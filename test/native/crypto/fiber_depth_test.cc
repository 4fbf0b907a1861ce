// SPDX-License-Identifier: Apache-2.0
// How much of a fiber's stack handshakes take: what lies deeper than is wiped would stay.
#include "tls/batched_ends.h"

namespace weft::test {
namespace {

using crypto::FiberStack;
using crypto::Mode;

/// A body that waits for a moment, and where on its stack it stands.
struct Parked final : crypto::FiberOwner {
  crypto::X25519Keygen keygen{};
  uintptr_t at = 0;

  void start(crypto::Batch& batch) {
    batch.start(
        [this] {
          at = reinterpret_cast<uintptr_t>(__builtin_frame_address(0));
          crypto::Batch::current()->compute(crypto::Operation::kX25519Keygen, keygen,
                                            [] { return true; });
        },
        *this);
  }
  void onFiberEnd() override {}
  /// Of its stack; the body is called from right below it.
  const std::byte* top() const {
    constexpr uintptr_t kPage = 4096;
    return reinterpret_cast<const std::byte*>((at + kPage - 1) / kPage * kPage);
  }
};

/// How deep anything but zeros lies in stacks that `batch` used before; 0 where all of it was
/// wiped.
size_t depthLeft(crypto::Batch& batch) {
  // More than were in use at a time: some are new.
  std::array<Parked, 4> parked;
  for (Parked& each : parked) {
    each.start(batch);
  }
  const size_t size = FiberStack::create().value()->size();
  size_t deepest = 0;
  for (const Parked& each : parked) {
    const std::byte* const bottom = each.top() - size;
    const std::byte* const wiped = each.top() - FiberStack::kWipedBytes;
    const auto* const left =
        std::find_if(bottom, wiped, [](std::byte one) { return one != std::byte{0}; });
    deepest = std::max(deepest, left == wiped ? 0 : static_cast<size_t>(each.top() - left));
  }
  settleAll(batch);
  return deepest;
}

void shakeHands(BatchedPair& pair, crypto::Batch& batch) {
  do {
    settleAll(batch);
  } while (step(pair));
}

/// What is left of handshakes with keys of `kind`, in each mode that has fibers.
size_t depthLeftBy(KeyKind kind, SessionRow row) {
  const TestCa ca(kind);
  const auto client = ca.identity(kWeb, {}, kind);
  const auto server = ca.identity(kCart, {}, kind);
  size_t deepest = 0;
  for (const Mode mode : allModes()) {
    const std::unique_ptr<crypto::Batch> batch = batchOf(mode);
    if (batch == nullptr) {
      continue;
    }
    BatchedPair pair(row, batch.get(), client, server);
    shakeHands(pair, *batch);
    CHECK(pair.client.done);
    CHECK(pair.server.done);
    deepest = std::max(deepest, depthLeft(*batch));
  }
  return deepest;
}

/// The same with a peer that has P-256 alone.
size_t depthLeftByP256() {
  const TestCa ca;
  const IdentityMaterial material = ca.material(kCart);
  const std::unique_ptr<crypto::Batch> batch = batchOf(Mode::kScalar);
  RawPeer server(&material);
  REQUIRE(SSL_CTX_set1_groups_list(server.context.get(), "P-256") == 1);
  BatchedEnd client(SessionRow::kRecord, batch.get());
  client.session = newClientSession(ca.identity(kWeb), {idOf(kCart)}, client.context);
  REQUIRE(client.session->start(kNow, &client).ok());
  server.start(true);
  for (int i = 0; i < 4; i++) {
    settleAll(*batch);
    server.give(client.take());
    SSL_do_handshake(server.ssl.get());
    client.receive(server.take());
  }
  CHECK(client.done);
  return depthLeft(*batch);
}

/// The same with ends that go while they wait, after so many steps and so many.
size_t depthLeftByAbandoned() {
  const TestCa ca;
  const auto client = ca.identity(kWeb);
  const auto server = ca.identity(kCart);
  const std::unique_ptr<crypto::Batch> batch = batchOf(Mode::kScalar);
  for (int steps = 0; steps < 6; steps++) {
    BatchedPair pair(SessionRow::kRecord, batch.get(), client, server);
    for (int i = 0; i < steps; i++) {
      settleAll(*batch);
      step(pair);
    }
  }
  return depthLeft(*batch);
}

/// The same with leaves that another authority signed, so that both ends end in an error.
size_t depthLeftByRefused() {
  const TestCa ca;
  const TestCa other;
  const std::unique_ptr<crypto::Batch> batch = batchOf(Mode::kScalar);
  BatchedPair pair(SessionRow::kRecord, batch.get(), ca.identity(kWeb), other.identity(kCart));
  shakeHands(pair, *batch);
  CHECK_FALSE(pair.client.status.ok());
  return depthLeft(*batch);
}

TEST_CASE("crypto: no handshake goes deeper into its stack than is wiped") {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  MESSAGE("left out: frames are larger under the sanitizers than in what is shipped");
  return;
#endif
  for (const SessionRow row : {SessionRow::kRecord, SessionRow::kLibrary}) {
    CHECK(depthLeftBy(KeyKind::kP256, row) == 0);
    CHECK(depthLeftBy(KeyKind::kRsa2048, row) == 0);
  }
  CHECK(depthLeftByP256() == 0);
  CHECK(depthLeftByAbandoned() == 0);
  CHECK(depthLeftByRefused() == 0);
}

TEST_CASE("crypto: a body that goes deeper than is wiped is found") {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  MESSAGE("left out: frames are larger under the sanitizers than in what is shipped");
  return;
#endif
  const std::unique_ptr<crypto::Batch> batch = batchOf(Mode::kScalar);
  Parked owner;
  batch->start(
      [] {
        std::array<std::byte, FiberStack::kWipedBytes + 4096> frame;
        frame.fill(std::byte{0x5a});
        asm volatile("" : : "r"(&frame) : "memory");
      },
      owner);
  CHECK(depthLeft(*batch) > FiberStack::kWipedBytes + 4096);
}

}  // namespace
}  // namespace weft::test
