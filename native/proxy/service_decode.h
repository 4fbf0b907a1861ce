// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "proxy/tables_fields.h"

namespace weft::proxy {

/// Reads one weft.tables.Service. What it does not understand it refuses. One reader for one
/// service.
class ServiceReader : public FieldReader {
 public:
  /// False when a rule is broken, see FieldReader; `out` is then of no use but for its key.
  bool readService(protozero::pbf_reader in, Service& out);

 private:
  bool readVip(protozero::pbf_reader in, Service& out);
  bool readLoadBalancing(protozero::pbf_reader in, LoadBalancing& out);
  bool readServiceKind(protozero::pbf_reader& in, Service& out);
};

}  // namespace weft::proxy
