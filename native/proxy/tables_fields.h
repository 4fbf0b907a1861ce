// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <protozero/pbf_reader.hpp>
#include <string>
#include <vector>

#include "base/ip.h"
#include "base/status.h"
#include "proxy/tables.h"

namespace weft::proxy {

/// The tag of a field of bytes, of text or of a message, together with its wire type.
constexpr uint32_t text(protozero::pbf_tag_type tag) {
  return protozero::tag_and_type(tag, protozero::pbf_wire_type::length_delimited);
}

/// The tag of a number, a flag or an enum, together with its wire type.
constexpr uint32_t number(protozero::pbf_tag_type tag) {
  return protozero::tag_and_type(tag, protozero::pbf_wire_type::varint);
}

/// Reads the current field of a message into a checked value. A broken rule makes the answer false
/// and is kept in the status; `what` names the field in it. Broken encoding throws what protozero
/// throws: for files built with exceptions, under one that catches them.
class FieldReader {
 public:
  Status takeStatus() { return std::move(status_); }

  /// All of these answer false.
  bool fail(Status status);
  bool invalid(std::string message) { return fail({Code::kInvalid, std::move(message)}); }
  bool unknownField(const protozero::pbf_reader& in, const char* message);

  /// False when a list that holds `count` may not grow.
  bool room(size_t count, size_t max, const char* what);
  bool readText(protozero::pbf_reader& in, std::string& out, const char* what,
                size_t max = kTextBytesMax);
  /// A text that may not be empty, of kKeyBytesMax at most.
  bool readKey(protozero::pbf_reader& in, std::string& out, const char* what);
  /// A number up to `max`, such as an enum's.
  bool readNumber(protozero::pbf_reader& in, uint64_t max, uint64_t& out, const char* what);
  bool readFlag(protozero::pbf_reader& in, bool& out, const char* what);
  bool readPort(uint64_t value, uint16_t& out, const char* what, bool zeroAllowed = false);

  /// One more weft.tables.PortMap, of kPortsMax at most.
  bool readPortMap(protozero::pbf_reader in, std::vector<PortMap>& out, bool zeroTarget);
  /// A weft.tables.Cidr; an IPv4 block may come in its mapped spelling.
  bool readRange(protozero::pbf_reader in, Cidr& out);

  static std::optional<Ip> ipOf(const protozero::data_view& view);

 protected:
  const Status& status() const { return status_; }

 private:
  Status status_;
};

}  // namespace weft::proxy
