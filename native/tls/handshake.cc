// SPDX-License-Identifier: Apache-2.0
#include "tls/handshake.h"

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/pool.h>

#include <algorithm>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include "base/check.h"

namespace weft::tls {
namespace {

/// Handshake bytes one peer may send before it is authenticated: two full certificate lists.
constexpr size_t kHandshakeBytesMax = 40 << 10;
/// What Identity allows, without the hybrid.
constexpr char kClassicalGroups[] = "X25519:P-256";

}  // namespace

Handshake::Handshake(std::shared_ptr<const Identity> own, ExpectedIdentities expected,
                     SessionContext& context, Role role, Resumption resumption,
                     HandshakeOutput& output)
    : own_(std::move(own)),
      expected_(std::move(expected)),
      context_(context),
      role_(role),
      resumption_(std::move(resumption)),
      output_(output) {}

Handshake::~Handshake() {
  abandon();
}

void Handshake::abandon() {
  if (waits()) {
    muted_ = true;
    context_.batch->abandon(std::exchange(run_, nullptr));
  }
}

const BIO_METHOD* Handshake::bioMethod() {
  static const BIO_METHOD* const kMethod = [] {
    BIO_METHOD* method = BIO_meth_new(BIO_get_new_index(), "weft session");
    CHECK(method != nullptr);
    BIO_meth_set_create(method, [](BIO* bio) {
      BIO_set_init(bio, 1);
      return 1;
    });
    BIO_meth_set_read(method, [](BIO* bio, char* out, int max) {
      return static_cast<Handshake*>(BIO_get_data(bio))
          ->read(bio, reinterpret_cast<uint8_t*>(out), static_cast<size_t>(max));
    });
    BIO_meth_set_write(method, [](BIO* bio, const char* bytes, int n) {
      auto* handshake = static_cast<Handshake*>(BIO_get_data(bio));
      if (!handshake->muted_) {
        handshake->output_.onHandshakeBytes(
            {reinterpret_cast<const uint8_t*>(bytes), static_cast<size_t>(n)});
      }
      return n;
    });
    BIO_meth_set_ctrl(method, [](BIO*, int command, long, void*) -> long {
      return command == BIO_CTRL_FLUSH ? 1 : 0;
    });
    return method;
  }();
  return kMethod;
}

int Handshake::read(BIO* bio, uint8_t* out, size_t max) {
  BIO_clear_retry_flags(bio);
  const size_t n = std::min(max, input_.size());
  handshakeBytes_ += done_ ? 0 : n;
  if (n == 0) {
    BIO_set_retry_read(bio);
    return -1;
  }
  std::memcpy(out, input_.data(), n);
  input_ = input_.subspan(n);
  return static_cast<int>(n);
}

Status Handshake::start(int64_t nowSeconds) {
  CHECK(ssl_ == nullptr);
  nowSeconds_ = nowSeconds;
  ssl_.reset(SSL_new(role_ == Role::kClient ? own_->clientContext() : own_->serverContext()));
  BIO* bio = ssl_ == nullptr ? nullptr : BIO_new(bioMethod());
  if (bio == nullptr) {
    return Status(Code::kInternal, "TLS: out of memory");
  }
  BIO_set_data(bio, this);
  SSL_set_bio(ssl_.get(), bio, bio);
  SSL_set_app_data(ssl_.get(), this);
  SSL_set_mode(ssl_.get(), SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
  SSL_set_shed_handshake_config(ssl_.get(), 1);
  SSL_set_custom_verify(ssl_.get(), SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT,
                        [](SSL* ssl, uint8_t* alert) { return self(ssl)->verify(alert); });
  if (role_ == Role::kServer) {
    if (context_.ticketKeys == nullptr) {
      SSL_set_options(ssl_.get(), SSL_OP_NO_TICKET);
    }
    SSL_set_accept_state(ssl_.get());
    return {};
  }
  SSL_set_connect_state(ssl_.get());
  offerGroups();
  offerSession();
  std::span<uint8_t> nothing;
  return advance(nothing, nowSeconds);
}

void Handshake::offerGroups() {
  hybridOffered_ = resumption_.key.empty() ||
                   !context_.groups.classical(resumption_.key, nowSeconds_) ||
                   SSL_set1_groups_list(ssl_.get(), kClassicalGroups) != 1;
}

/// Only the answer to the whole offer tells something.
void Handshake::learnGroups() {
  if (hybridOffered_ && !resumption_.key.empty() &&
      SSL_get_group_id(ssl_.get()) != SSL_GROUP_X25519_MLKEM768) {
    context_.groups.tookClassical(resumption_.key, nowSeconds_);
  }
}

std::optional<Refusal> Handshake::refusalOfPeer() {
  std::vector<std::span<const uint8_t>> chain;
  const STACK_OF(CRYPTO_BUFFER)* sent = SSL_get0_peer_certificates(ssl_.get());
  for (size_t i = 0; sent != nullptr && i < sk_CRYPTO_BUFFER_num(sent); i++) {
    const CRYPTO_BUFFER* one = sk_CRYPTO_BUFFER_value(sent, i);
    chain.emplace_back(CRYPTO_BUFFER_data(one), CRYPTO_BUFFER_len(one));
  }
  std::optional<Refusal> refusal =
      verifyPeer(chain, *own_, role_, nowSeconds_, context_.leaves, peer_);
  if (refusal) {
    return refusal;
  }
  if (denied(peer_)) {
    return Refusal{Status(Code::kDenied, "peer: " + peer_.id.text + " is on the deny list"),
                   SSL_AD_ACCESS_DENIED};
  }
  if (role_ == Role::kServer) {
    return std::nullopt;
  }
  if (std::find(expected_.begin(), expected_.end(), peer_.id) != expected_.end()) {
    return std::nullopt;
  }
  return Refusal{Status(Code::kDenied, "peer: identity " + peer_.id.text + " was not expected"),
                 SSL_AD_ACCESS_DENIED};
}

ssl_verify_result_t Handshake::verify(uint8_t* alert) {
  refusal_ = refusalOfPeer();
  if (!refusal_) {
    return ssl_verify_ok;
  }
  *alert = refusal_->alert;
  return ssl_verify_invalid;
}

Status Handshake::failure(int result) {
  if (!done_) {
    context_.groups.forget(resumption_.key);
  }
  if (refusal_) {
    ERR_clear_error();
    return refusal_->status;
  }
  if (SSL_get_error(ssl_.get(), result) == SSL_ERROR_ZERO_RETURN) {
    return Status(Code::kClosed, "TLS: the peer closed the session");
  }
  const uint32_t packed = ERR_get_error();
  ERR_clear_error();
  const char* reason = packed == 0 ? nullptr : ERR_reason_error_string(packed);
  return Status(Code::kInvalid, std::string("TLS: ") + (reason ? reason : "protocol error"));
}

Status Handshake::advance(std::span<uint8_t>& input, int64_t nowSeconds) {
  CHECK(!waits());
  nowSeconds_ = nowSeconds;
  if (std::exchange(answered_, false)) {
    CHECK(input.empty());
    input = kept_;
  } else {
    input_ = input;
    step();
    if (waits()) {
      // The memory of `input` is the caller's again.
      kept_.assign(input_.begin(), input_.end());
      input_ = kept_;
      input = {};
      return {};
    }
  }
  input = input.last(input_.size());
  input_ = {};
  done_ = finished_;
  return std::exchange(outcome_, {});
}

void Handshake::step() {
  const auto shake = [this] {
    ERR_clear_error();
    outcome_ = outcomeOf(SSL_do_handshake(ssl_.get()));
  };
  if (context_.batch == nullptr) {
    shake();
  } else {
    run_ = context_.batch->start(shake, *this);
  }
}

void Handshake::onFiberEnd() {
  run_ = nullptr;
  answered_ = true;
  output_.onHandshakeReady();
}

// Of the library's last step.
Status Handshake::outcomeOf(int result) {
  if (result == 1) {
    return finish();
  }
  if (SSL_get_error(ssl_.get(), result) != SSL_ERROR_WANT_READ) {
    return failure(result);
  }
  if (handshakeBytes_ > kHandshakeBytesMax) {
    SSL_send_fatal_alert(ssl_.get(), SSL_AD_DECODE_ERROR);
    ERR_clear_error();
    return Status(Code::kInvalid, "TLS: the handshake is too long");
  }
  return {};
}

Status Handshake::finish() {
  finished_ = true;
  doneSeconds_ = nowSeconds_;
  resumed_ = SSL_session_reused(ssl_.get()) == 1;
  cipherSuite_ = SSL_CIPHER_get_protocol_id(SSL_get_current_cipher(ssl_.get()));
  expected_ = {};
  if (role_ == Role::kClient) {
    learnGroups();
  } else {
    if (resumed_) {
      peer_ = ticketPeer_;
    }
    SSL_write(ssl_.get(), nullptr, 0);  // else a ticket waits for the first data
    ERR_clear_error();
  }
  return {};
}

}  // namespace weft::tls
