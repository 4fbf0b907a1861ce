// SPDX-License-Identifier: Apache-2.0
#include "tls/deny_list.h"

#include <algorithm>

#include "tls/verify.h"

namespace weft::tls {

std::string canonicalSerial(const std::string& hex) {
  std::string canonical;
  for (const char c : hex) {
    if (c == ':' || (c == '0' && canonical.empty())) {
      continue;
    }
    canonical.push_back(c >= 'A' && c <= 'F' ? static_cast<char>(c - 'A' + 'a') : c);
  }
  return canonical.empty() ? "0" : canonical;
}

DenyList::DenyList(uint64_t epoch, const std::vector<std::string>& identities,
                   const std::vector<std::string>& serials)
    : epoch_(epoch) {
  for (const std::string& text : identities) {
    // Compared in the form that a verified identity has; what is no SPIFFE ID matches nobody.
    const Result<SpiffeId> id = parseSpiffeId(text);
    identities_.insert(id.ok() ? id.value().text : text);
  }
  for (const std::string& serial : serials) {
    serials_.insert(canonicalSerial(serial));
  }
}

bool DenyList::denies(const PeerIdentity& peer) const {
  return identities_.contains(peer.id.text) || serials_.contains(peer.serial);
}

}  // namespace weft::tls
