// SPDX-License-Identifier: Apache-2.0
#include "tls/ticket_keys.h"

#include <openssl/aead.h>
#include <openssl/err.h>
#include <openssl/mem.h>
#include <openssl/rand.h>

#include <algorithm>
#include <array>
#include <cstring>

#include "base/check.h"

namespace weft::tls {
namespace {

constexpr size_t kNameBytes = 16;
constexpr size_t kNonceBytes = 12;
constexpr size_t kTagBytes = 16;
static_assert(TicketKeys::kOverheadBytes == kNameBytes + kNonceBytes + kTagBytes);

}  // namespace

struct TicketKeys::Key {
  explicit Key(int64_t nowSeconds) : bornSeconds(nowSeconds) {
    std::array<uint8_t, 32> secret{};
    RAND_bytes(name.data(), name.size());
    RAND_bytes(secret.data(), secret.size());
    EVP_AEAD_CTX_zero(&context);
    CHECK(EVP_AEAD_CTX_init(&context, EVP_aead_aes_256_gcm(), secret.data(), secret.size(),
                            kTagBytes, nullptr) == 1);
    OPENSSL_cleanse(secret.data(), secret.size());
  }
  ~Key() {
    EVP_AEAD_CTX_cleanup(&context);
    OPENSSL_cleanse(&context, sizeof context);
  }
  Key(const Key&) = delete;
  Key& operator=(const Key&) = delete;

  int64_t bornSeconds;
  std::array<uint8_t, kNameBytes> name{};
  EVP_AEAD_CTX context;  // may be used by many threads at once
};

struct TicketKeys::Ring {
  std::shared_ptr<const Key> current;
  std::shared_ptr<const Key> previous;  // opens what it sealed, for an hour more
};

TicketKeys::TicketKeys() = default;
TicketKeys::~TicketKeys() = default;

// A clock that was set back makes a new key, too: else the old one would live on.
std::shared_ptr<const TicketKeys::Ring> TicketKeys::ringAt(int64_t nowSeconds) {
  const auto lives = [&](const std::shared_ptr<const Key>& key, int64_t lifetime) {
    return key != nullptr && nowSeconds >= key->bornSeconds &&
           nowSeconds - key->bornSeconds < lifetime;
  };
  while (true) {
    const std::shared_ptr<const Ring> seen = ring_.get();
    const std::shared_ptr<const Key> newest = seen == nullptr ? nullptr : seen->current;
    if (lives(newest, kResumptionSeconds)) {
      return seen;
    }
    auto next = std::make_shared<Ring>();
    next->current = std::make_shared<const Key>(nowSeconds);
    next->previous = lives(newest, 2 * kResumptionSeconds) ? newest : nullptr;
    if (ring_.replace(seen, next)) {
      return next;
    }
  }
}

std::vector<uint8_t> TicketKeys::seal(std::span<const uint8_t> plain,
                                      std::span<const uint8_t> about, int64_t nowSeconds) {
  const std::shared_ptr<const Key> key = ringAt(nowSeconds)->current;
  std::vector<uint8_t> ticket(kOverheadBytes + plain.size());
  uint8_t* const nonce = ticket.data() + kNameBytes;
  uint8_t* const body = nonce + kNonceBytes;
  std::memcpy(ticket.data(), key->name.data(), kNameBytes);
  size_t written = 0;
  if (RAND_bytes(nonce, kNonceBytes) != 1 ||
      EVP_AEAD_CTX_seal(&key->context, body, &written, plain.size() + kTagBytes, nonce, kNonceBytes,
                        plain.data(), plain.size(), about.data(), about.size()) != 1) {
    ERR_clear_error();
    return {};
  }
  return ticket;
}

std::optional<std::vector<uint8_t>> TicketKeys::open(std::span<const uint8_t> ticket,
                                                     std::span<const uint8_t> about,
                                                     int64_t nowSeconds) {
  if (ticket.size() < kOverheadBytes) {
    return std::nullopt;
  }
  const std::shared_ptr<const Ring> ring = ringAt(nowSeconds);
  std::shared_ptr<const Key> key;
  for (const auto& one : {ring->current, ring->previous}) {
    if (one != nullptr && std::equal(one->name.begin(), one->name.end(), ticket.begin())) {
      key = one;
    }
  }
  if (key == nullptr) {
    return std::nullopt;
  }
  const std::span<const uint8_t> nonce = ticket.subspan(kNameBytes, kNonceBytes);
  const std::span<const uint8_t> body = ticket.subspan(kNameBytes + kNonceBytes);
  std::vector<uint8_t> plain(body.size());
  size_t written = 0;
  if (EVP_AEAD_CTX_open(&key->context, plain.data(), &written, plain.size(), nonce.data(),
                        nonce.size(), body.data(), body.size(), about.data(), about.size()) != 1) {
    ERR_clear_error();
    return std::nullopt;
  }
  plain.resize(written);
  return plain;
}

}  // namespace weft::tls
