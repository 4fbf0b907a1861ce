// SPDX-License-Identifier: Apache-2.0
// A peer's certificates: any bytes, a good leaf that was changed, or one that our own authority
// signed with extensions of the input's making. A reader of this file's own, strict and small, says
// what an accepted one must have: one URI name, which is the identity that was taken.
#include <openssl/bytestring.h>
#include <openssl/obj.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <vector>

#include "../native/tls/test_ca.h"
#include "tls/svid.h"
#include "tls/verify.h"

namespace {

using weft::test::Bytes;
using weft::test::CertificateRecipe;
using weft::test::kNow;
using weft::test::need;
using weft::test::TestCa;
using weft::tls::Identity;
using weft::tls::PeerIdentity;
using weft::tls::Role;

constexpr const char* kOwnId = "spiffe://td/ns/a/sa/server";
constexpr const char* kPeerId = "spiffe://td/ns/a/sa/client";
// What a chain may have on the wire.
constexpr size_t kInputBytesMax = 16 << 10;

struct World {
  TestCa ca;
  std::shared_ptr<const Identity> own = ca.identity(kOwnId);
  bssl::UniquePtr<EVP_PKEY> key = weft::test::newKey();
  Bytes good = ca.issue(recipe(), key.get());

  static CertificateRecipe recipe() {
    CertificateRecipe made;
    made.names = std::string("URI:") + kPeerId;
    return made;
  }
};

const World& world() {
  static const World* const made = new World();
  return *made;
}

// The value of the extensions field of a certificate (RFC 5280 section 4.1).
bool extensionsOf(CBS* der, CBS* extensions) {
  CBS certificate, tbs, wrapped, skipped;
  constexpr CBS_ASN1_TAG kExplicit = CBS_ASN1_CONTEXT_SPECIFIC | CBS_ASN1_CONSTRUCTED;
  if (CBS_get_asn1(der, &certificate, CBS_ASN1_SEQUENCE) != 1 ||
      CBS_get_asn1(&certificate, &tbs, CBS_ASN1_SEQUENCE) != 1 ||
      CBS_get_asn1(&tbs, &skipped, kExplicit | 0) != 1 ||
      CBS_get_asn1(&tbs, &skipped, CBS_ASN1_INTEGER) != 1) {
    return false;
  }
  for (int fields = 0; fields < 5; fields++) {  // up to the subject's key
    if (CBS_get_asn1(&tbs, &skipped, CBS_ASN1_SEQUENCE) != 1) {
      return false;
    }
  }
  int there = 0;
  return CBS_get_optional_asn1(&tbs, &skipped, &there, CBS_ASN1_CONTEXT_SPECIFIC | 1) == 1 &&
         CBS_get_optional_asn1(&tbs, &skipped, &there, CBS_ASN1_CONTEXT_SPECIFIC | 2) == 1 &&
         CBS_get_asn1(&tbs, &wrapped, kExplicit | 3) == 1 &&
         CBS_get_asn1(&wrapped, extensions, CBS_ASN1_SEQUENCE) == 1;
}

// All URI names of one alternative name, after those of others; false where it is no DER.
bool addUris(CBS* value, std::vector<std::string>* uris) {
  CBS names;
  if (CBS_get_asn1(value, &names, CBS_ASN1_SEQUENCE) != 1 || CBS_len(value) != 0) {
    return false;
  }
  while (CBS_len(&names) > 0) {
    CBS name;
    CBS_ASN1_TAG tag = 0;
    if (CBS_get_any_asn1(&names, &name, &tag) != 1) {
      return false;
    }
    if (tag == (CBS_ASN1_CONTEXT_SPECIFIC | 6)) {
      uris->emplace_back(reinterpret_cast<const char*>(CBS_data(&name)), CBS_len(&name));
    }
  }
  return true;
}

// All URI names in all alternative names that the certificate has; nothing where it is no DER.
std::optional<std::vector<std::string>> urisOf(const Bytes& bytes) {
  constexpr std::array<uint8_t, 3> kAlternativeName = {0x55, 0x1d, 0x11};
  std::vector<std::string> uris;
  CBS der, extensions;
  CBS_init(&der, bytes.data(), bytes.size());
  if (!extensionsOf(&der, &extensions)) {
    return std::nullopt;
  }
  while (CBS_len(&extensions) > 0) {
    CBS extension, oid, value, ignored;
    int critical = 0;
    if (CBS_get_asn1(&extensions, &extension, CBS_ASN1_SEQUENCE) != 1 ||
        CBS_get_asn1(&extension, &oid, CBS_ASN1_OBJECT) != 1 ||
        CBS_get_optional_asn1(&extension, &ignored, &critical, CBS_ASN1_BOOLEAN) != 1 ||
        CBS_get_asn1(&extension, &value, CBS_ASN1_OCTETSTRING) != 1) {
      return std::nullopt;
    }
    if (CBS_mem_equal(&oid, kAlternativeName.data(), kAlternativeName.size()) == 1 &&
        !addUris(&value, &uris)) {
      return std::nullopt;
    }
  }
  return uris;
}

bool isOnlyName(const std::vector<std::string>& uris, const weft::tls::SpiffeId& id) {
  return uris.size() == 1 && uris[0].size() == id.text.size() && uris[0].ends_with(id.path()) &&
         std::equal(uris[0].begin(), uris[0].end(), id.text.begin(), [](char given, char taken) {
           return given == taken || std::tolower(static_cast<unsigned char>(given)) == taken;
         });
}

// `id` is the one URI name of `leaf`: a SPIFFE ID with a path, in canonical spelling. Around the
// names the library also reads what is BER only, which an authority that we trust does not sign:
// only a leaf that was `taken` has to be DER as a whole.
void needOnlyName(const Bytes& leaf, const weft::tls::SpiffeId& id, bool taken) {
  const std::optional<std::vector<std::string>> uris = urisOf(leaf);
  need(uris ? isOnlyName(*uris, id) : !taken);
  need(id.path().size() > 1 && !id.trustDomain().empty());
  const auto again = weft::tls::parseSpiffeId(id.text);
  need(again.ok() && again.value() == id);
}

std::optional<PeerIdentity> verify(const std::vector<Bytes>& chain, Role role) {
  std::vector<std::span<const uint8_t>> spans(chain.begin(), chain.end());
  weft::tls::VerifiedLeaves none(0);
  PeerIdentity peer;
  const auto refusal = weft::tls::verifyPeer(spans, *world().own, role, kNow, none, peer);
  if (refusal) {
    need(refusal->status.code() == weft::Code::kDenied && refusal->alert != 0);
    return std::nullopt;
  }
  needOnlyName(chain[0], peer.id, true);
  need(peer.id.trustDomain() == "td" && peer.notAfterSeconds >= kNow);
  return peer;
}

// Whatever signed it; true when either role takes it.
bool judge(const Bytes& leaf) {
  const bssl::UniquePtr<X509> parsed = weft::tls::parseCertificate(leaf);
  bool named = false;
  if (parsed != nullptr) {
    (void)weft::tls::serialOf(parsed.get());
    (void)weft::tls::notAfterOf(parsed.get());
    const auto id = weft::tls::spiffeIdOfLeaf(parsed.get());
    named = id.ok();
    if (named) {
      needOnlyName(leaf, id.value(), false);
    }
  }
  const bool taken = verify({leaf}, Role::kServer).has_value();
  const bool takenByClient = verify({leaf}, Role::kClient).has_value();
  need(named || (!taken && !takenByClient));
  return taken || takenByClient;
}

// As our own: the bytes come from a certificate provider, with a key that is theirs.
void adopt(const Bytes& leaf) {
  const auto made = Identity::create(
      {kPeerId, {leaf}, weft::test::pkcs8Of(world().key.get()), {world().ca.der()}});
  need(!made.ok() || made.value()->id().text == kPeerId);
  const auto trusting =
      Identity::create({kPeerId, {world().good}, weft::test::pkcs8Of(world().key.get()), {leaf}});
  need(trusting.ok() == (weft::tls::parseCertificate(leaf) != nullptr));
}

// Bits of it, each by a place of two bytes and a mask.
Bytes changed(Bytes certificate, std::span<const uint8_t> script) {
  for (; script.size() >= 3; script = script.subspan(3)) {
    certificate[(script[0] << 8 | script[1]) % certificate.size()] ^= script[2];
  }
  return certificate;
}

std::string asExtension(std::span<const uint8_t> der) {
  constexpr char kDigits[] = "0123456789abcdef";
  std::string text = "DER:";
  for (const uint8_t byte : der) {
    text += kDigits[byte >> 4];
    text += kDigits[byte & 15];
  }
  return text;
}

Bytes signedWith(std::string CertificateRecipe::*field, std::span<const uint8_t> value) {
  CertificateRecipe recipe = World::recipe();
  recipe.*field = value.empty() ? "" : asExtension(value);
  return world().ca.issue(recipe, world().key.get());
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0 || size > kInputBytesMax) {
    return 0;
  }
  const std::span<const uint8_t> rest(data + 1, size - 1);
  const Bytes bytes(rest.begin(), rest.end());
  switch (data[0] % 8) {
    case 0:
      need(!judge(bytes));
      break;
    case 1: {
      const Bytes leaf = changed(world().good, rest);
      need(judge(leaf) == (leaf == world().good));
      break;
    }
    case 2:
      judge(signedWith(&CertificateRecipe::names, rest));
      break;
    case 3:
      judge(signedWith(&CertificateRecipe::usage, rest));
      break;
    case 4:
      judge(signedWith(&CertificateRecipe::constraints, rest));
      break;
    case 5:
      judge(signedWith(&CertificateRecipe::extendedUsage, rest));
      break;
    case 6: {
      const auto peer = verify({world().good, changed(world().ca.der(), rest)}, Role::kServer);
      need(!peer || peer->id.text == kPeerId);
      break;
    }
    default:
      adopt(bytes);
  }
  return 0;
}
