// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <vector>

#include "proxy/policy.h"
#include "proxy/tables_fields.h"

namespace weft::proxy {

/// Reads one weft.tables.Policy. What it does not understand it refuses: a DENY with a part left
/// out would be fail-open. One reader for one policy.
class PolicyReader : public FieldReader {
 public:
  /// False when a rule is broken, see FieldReader; `out` is then of no use but for its key.
  bool readPolicy(protozero::pbf_reader in, Policy& out);

 private:
  bool readRule(protozero::pbf_reader in, PolicyRule& out);
  bool readClause(protozero::pbf_reader in, PolicyClause& out);
  bool readMatch(protozero::pbf_reader in, PolicyMatch& out);
  bool readStringMatch(protozero::pbf_reader in, std::vector<StringMatch>& out);
  bool readCidr(protozero::pbf_reader in, std::vector<Cidr>& out);
  bool readPolicyPorts(protozero::pbf_reader& in, std::vector<uint16_t>& out);
  bool addPolicyPort(uint64_t value, std::vector<uint16_t>& out);
  bool readAccount(protozero::pbf_reader in, std::vector<ServiceAccountMatch>& out);
  bool countPart() { return room(parts_++, kPolicyPartsMax, "parts"); }

  size_t parts_ = 0;
};

}  // namespace weft::proxy
