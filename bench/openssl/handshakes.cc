// SPDX-License-Identifier: Apache-2.0
// What bench_handshakes measures, by the system's OpenSSL: a full mutual handshake of TLS 1.3 with
// P-256 certificates and X25519, both ends in one thread over memory.
//
//   bench_openssl [rounds [handshakes]]   one line of JSON for each round
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <memory>

namespace {

template <auto kFree>
struct Deleter {
  template <typename T>
  void operator()(T* object) const {
    kFree(object);
  }
};
using Key = std::unique_ptr<EVP_PKEY, Deleter<EVP_PKEY_free>>;
using Certificate = std::unique_ptr<X509, Deleter<X509_free>>;
using Context = std::unique_ptr<SSL_CTX, Deleter<SSL_CTX_free>>;
using Connection = std::unique_ptr<SSL, Deleter<SSL_free>>;

void need(bool condition) {
  if (!condition) {
    ERR_print_errors_fp(stderr);
    std::abort();
  }
}

double cpuSeconds() {
  timespec time{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_nsec) * 1e-9;
}

void extend(X509* certificate, int nid, const char* value) {
  X509V3_CTX context;
  X509V3_set_ctx(&context, certificate, certificate, nullptr, nullptr, 0);
  X509_EXTENSION* const extension = X509V3_EXT_conf_nid(nullptr, &context, nid, value);
  need(extension != nullptr && X509_add_ext(certificate, extension, -1) == 1);
  X509_EXTENSION_free(extension);
}

// Signed by `issuer`'s key; an authority without one signs itself.
Certificate issue(EVP_PKEY* key, const char* name, X509* issuer, EVP_PKEY* issuerKey) {
  Certificate made(X509_new());
  X509_set_version(made.get(), X509_VERSION_3);
  ASN1_INTEGER_set(X509_get_serialNumber(made.get()), issuer == nullptr ? 1 : 2);
  X509_gmtime_adj(X509_getm_notBefore(made.get()), -60);
  X509_gmtime_adj(X509_getm_notAfter(made.get()), 86400);
  need(X509_set_pubkey(made.get(), key) == 1);
  X509_NAME* const subject = X509_get_subject_name(made.get());
  X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_ASC,
                             reinterpret_cast<const unsigned char*>(name), -1, -1, 0);
  X509_set_issuer_name(made.get(), issuer == nullptr ? subject : X509_get_subject_name(issuer));
  if (issuer == nullptr) {
    extend(made.get(), NID_basic_constraints, "critical,CA:TRUE");
    extend(made.get(), NID_key_usage, "critical,keyCertSign,cRLSign");
  } else {
    extend(made.get(), NID_key_usage, "critical,digitalSignature");
    extend(made.get(), NID_ext_key_usage, "serverAuth,clientAuth");
    extend(made.get(), NID_subject_alt_name, "critical,URI:spiffe://td/ns/a/sa/one");
  }
  need(X509_sign(made.get(), issuerKey == nullptr ? key : issuerKey, EVP_sha256()) > 0);
  return made;
}

struct Authority {
  Key key{EVP_EC_gen("P-256")};
  Certificate certificate = issue(key.get(), "authority", nullptr, nullptr);
};

Context contextOf(const Authority& authority, const char* name) {
  const Key key(EVP_EC_gen("P-256"));
  const Certificate certificate =
      issue(key.get(), name, authority.certificate.get(), authority.key.get());
  Context context(SSL_CTX_new(TLS_method()));
  need(SSL_CTX_set_min_proto_version(context.get(), TLS1_3_VERSION) == 1 &&
       SSL_CTX_set1_groups_list(context.get(), "X25519") == 1 &&
       SSL_CTX_set_ciphersuites(context.get(), "TLS_AES_128_GCM_SHA256") == 1 &&
       SSL_CTX_use_certificate(context.get(), certificate.get()) == 1 &&
       SSL_CTX_use_PrivateKey(context.get(), key.get()) == 1 &&
       X509_STORE_add_cert(SSL_CTX_get_cert_store(context.get()), authority.certificate.get()) ==
           1 &&
       SSL_CTX_set_num_tickets(context.get(), 0) == 1);
  SSL_CTX_set_verify(context.get(), SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, nullptr);
  SSL_CTX_set_session_cache_mode(context.get(), SSL_SESS_CACHE_OFF);
  SSL_CTX_set_options(context.get(), SSL_OP_NO_TICKET);
  return context;
}

void shake(SSL_CTX* clients, SSL_CTX* servers) {
  const Connection client(SSL_new(clients));
  const Connection server(SSL_new(servers));
  BIO* const up = BIO_new(BIO_s_mem());
  BIO* const down = BIO_new(BIO_s_mem());
  BIO_up_ref(up);
  BIO_up_ref(down);
  SSL_set_bio(client.get(), down, up);
  SSL_set_bio(server.get(), up, down);
  SSL_set_connect_state(client.get());
  SSL_set_accept_state(server.get());
  bool done = false;
  for (int i = 0; i < 4 && !done; i++) {
    const bool clientDone = SSL_do_handshake(client.get()) == 1;
    done = SSL_do_handshake(server.get()) == 1 && clientDone;
  }
  need(done);
}

}  // namespace

int main(int argc, char** argv) {
  const int rounds = argc > 1 ? std::atoi(argv[1]) : 3;
  const int handshakes = argc > 2 ? std::atoi(argv[2]) : 500;
  const Authority authority;
  const Context clients = contextOf(authority, "client");
  const Context servers = contextOf(authority, "server");
  for (int round = 0; round < rounds; round++) {
    const double begin = cpuSeconds();
    for (int i = 0; i < handshakes; i++) {
      shake(clients.get(), servers.get());
    }
    std::printf("{\"library\":\"%s\",\"round\":%d,\"micros\":%.2f}\n",
                OpenSSL_version(OPENSSL_VERSION), round, (cpuSeconds() - begin) * 1e6 / handshakes);
  }
  return 0;
}
