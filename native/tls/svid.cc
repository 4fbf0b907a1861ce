// SPDX-License-Identifier: Apache-2.0
#include "tls/svid.h"

#include <openssl/err.h>
#include <openssl/x509.h>

#include <algorithm>

#include "tls/deny_list.h"

namespace weft::tls {
namespace {

Status invalid(const char* rule) {
  return Status(Code::kInvalid, std::string("SVID: ") + rule);
}

// Key usage must be there: without it X509_get_key_usage() answers "everything".
Status checkUsage(X509* leaf) {
  const uint32_t flags = X509_get_extension_flags(leaf);
  if ((flags & EXFLAG_INVALID) != 0) {
    return invalid("an extension does not parse");
  }
  if (X509_get_version(leaf) != X509_VERSION_3) {
    return invalid("not an X.509 version 3 certificate");
  }
  if ((flags & EXFLAG_CA) != 0) {
    return invalid("the leaf is a certificate authority");
  }
  const int index = X509_get_ext_by_NID(leaf, NID_key_usage, -1);
  if (index < 0 || X509_EXTENSION_get_critical(X509_get_ext(leaf, index)) == 0) {
    return invalid("the key usage is missing or not critical");
  }
  const uint32_t usage = X509_get_key_usage(leaf);
  if ((usage & (X509v3_KU_KEY_CERT_SIGN | X509v3_KU_CRL_SIGN)) != 0) {
    return invalid("the leaf's key may sign certificates or revocation lists");
  }
  if ((usage & X509v3_KU_DIGITAL_SIGNATURE) == 0) {
    return invalid("the leaf's key may not sign");
  }
  return {};
}

struct NamesDeleter {
  void operator()(GENERAL_NAMES* names) const { GENERAL_NAMES_free(names); }
};

// Whether the leaf's names stand in it as DER has them (RFC 5280 section 4.1): the library also
// reads what is BER only, and two readers that differ are two opinions of who the peer is.
bool areDer(X509* leaf, const GENERAL_NAMES* names) {
  const int index = X509_get_ext_by_NID(leaf, NID_subject_alt_name, -1);
  const ASN1_OCTET_STRING* value = X509_EXTENSION_get_data(X509_get_ext(leaf, index));
  uint8_t* encoded = nullptr;
  const int size = i2d_GENERAL_NAMES(const_cast<GENERAL_NAMES*>(names), &encoded);
  const bssl::UniquePtr<uint8_t> owned(encoded);
  return size == ASN1_STRING_length(value) &&
         std::equal(encoded, encoded + size, ASN1_STRING_get0_data(value));
}

}  // namespace

bssl::UniquePtr<X509> parseCertificate(std::span<const uint8_t> der) {
  const uint8_t* at = der.data();
  bssl::UniquePtr<X509> parsed(d2i_X509(nullptr, &at, static_cast<long>(der.size())));
  if (parsed == nullptr || at != der.data() + der.size()) {
    ERR_clear_error();
    return nullptr;
  }
  return parsed;
}

Result<SpiffeId> spiffeIdOfLeaf(X509* leaf) {
  Status usage = checkUsage(leaf);
  if (!usage.ok()) {
    return usage;
  }
  int critical = 0;
  // Null also when the extension is there twice.
  const std::unique_ptr<GENERAL_NAMES, NamesDeleter> names(static_cast<GENERAL_NAMES*>(
      X509_get_ext_d2i(leaf, NID_subject_alt_name, &critical, nullptr)));
  if (names == nullptr) {
    ERR_clear_error();
    return invalid("no subject alternative name that can be read");
  }
  if (!areDer(leaf, names.get())) {
    return invalid("the subject alternative name is not DER");
  }
  const ASN1_IA5STRING* uri = nullptr;
  for (size_t i = 0; i < sk_GENERAL_NAME_num(names.get()); i++) {
    const GENERAL_NAME* name = sk_GENERAL_NAME_value(names.get(), i);
    if (name->type != GEN_URI) {
      continue;
    }
    if (uri != nullptr) {
      return invalid("more than one URI name");
    }
    uri = name->d.uniformResourceIdentifier;
  }
  if (uri == nullptr) {
    return invalid("no URI name");
  }
  Result<SpiffeId> id = parseSpiffeId({reinterpret_cast<const char*>(ASN1_STRING_get0_data(uri)),
                                       static_cast<size_t>(ASN1_STRING_length(uri))});
  if (id.ok() && id.value().path().empty()) {
    return invalid("the leaf's SPIFFE ID has no path");
  }
  return id;
}

std::string serialOf(const X509* certificate) {
  const ASN1_INTEGER* serial = X509_get0_serialNumber(certificate);
  constexpr char kDigits[] = "0123456789abcdef";
  std::string hex;
  for (const uint8_t byte :
       std::span(ASN1_STRING_get0_data(serial), static_cast<size_t>(ASN1_STRING_length(serial)))) {
    hex.push_back(kDigits[byte >> 4]);
    hex.push_back(kDigits[byte & 15]);
  }
  return canonicalSerial(hex);
}

int64_t notAfterOf(const X509* certificate) {
  int64_t seconds = 0;
  return ASN1_TIME_to_posix(X509_get0_notAfter(certificate), &seconds) == 1 ? seconds : 0;
}

}  // namespace weft::tls
