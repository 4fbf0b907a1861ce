// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <set>
#include <string>
#include <vector>

namespace weft::tls {

struct PeerIdentity;

/// The peers that no session may have, whatever their certificates say. Immutable; shared by all
/// workers, and replaced as a whole.
class DenyList {
 public:
  /// `serials` are hexadecimal, in any case, with or without colons and leading zeros. `epoch`
  /// tells one list from the next.
  DenyList(uint64_t epoch, const std::vector<std::string>& identities,
           const std::vector<std::string>& serials);

  /// True when the peer's SPIFFE ID or its leaf's serial number is on the list.
  bool denies(const PeerIdentity& peer) const;
  uint64_t epoch() const { return epoch_; }
  bool empty() const { return identities_.empty() && serials_.empty(); }

 private:
  uint64_t epoch_;
  std::set<std::string> identities_;
  std::set<std::string> serials_;
};

/// The one form in which serial numbers are compared: lower case hexadecimal, no leading zeros.
std::string canonicalSerial(const std::string& hex);

}  // namespace weft::tls
