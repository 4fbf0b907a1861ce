// SPDX-License-Identifier: Apache-2.0
#include "proxy/tables_fields.h"

#include <utility>

namespace weft::proxy {

bool FieldReader::fail(Status status) {
  status_ = std::move(status);
  return false;
}

bool FieldReader::unknownField(const protozero::pbf_reader& in, const char* message) {
  return invalid(std::string(message) + ": field " + std::to_string(in.tag()) + " of wire type " +
                 std::to_string(static_cast<uint32_t>(in.wire_type())) + " is not known");
}

bool FieldReader::room(size_t count, size_t max, const char* what) {
  return count < max ||
         fail({Code::kLimit, std::string(what) + ": more than " + std::to_string(max)});
}

bool FieldReader::readText(protozero::pbf_reader& in, std::string& out, const char* what,
                           size_t max) {
  const auto view = in.get_view();
  if (view.size() > max) {
    return fail({Code::kLimit, std::string(what) + ": longer than " + std::to_string(max)});
  }
  out.assign(view.data(), view.size());
  return true;
}

bool FieldReader::readKey(protozero::pbf_reader& in, std::string& out, const char* what) {
  return readText(in, out, what, kKeyBytesMax) &&
         (!out.empty() || invalid(std::string(what) + ": empty"));
}

/// get_bool(), get_uint32() and get_enum() of the library look past the end or cut off high bits.
bool FieldReader::readNumber(protozero::pbf_reader& in, uint64_t max, uint64_t& out,
                             const char* what) {
  out = in.get_uint64();
  return out <= max || invalid(std::string(what) + ": " + std::to_string(out) + " is not known");
}

bool FieldReader::readFlag(protozero::pbf_reader& in, bool& out, const char* what) {
  uint64_t value = 0;
  if (!readNumber(in, 1, value, what)) {
    return false;
  }
  out = value == 1;
  return true;
}

bool FieldReader::readPort(uint64_t value, uint16_t& out, const char* what, bool zeroAllowed) {
  if (value > UINT16_MAX || (value == 0 && !zeroAllowed)) {
    return invalid(std::string(what) + ": no port has the number " + std::to_string(value));
  }
  out = static_cast<uint16_t>(value);
  return true;
}

bool FieldReader::readRange(protozero::pbf_reader in, Cidr& out) {
  std::optional<Ip> ip;
  uint64_t length = 0;
  uint64_t familyBits = 0;
  while (in.next()) {
    switch (in.tag_and_type()) {
      case text(1): {
        const auto view = in.get_view();
        ip = ipOf(view);
        familyBits = view.size() * 8;
        break;
      }
      case number(2):
        length = in.get_uint64();
        break;
      default:
        return unknownField(in, "Cidr");
    }
  }
  if (!ip.has_value()) {
    return invalid("CIDR: address is not 4 or 16 bytes");
  }
  // An IPv4 block in its mapped spelling: ::ffff:10.0.0.0/104 is 10.0.0.0/8.
  const uint64_t front = ip->isV4() && familyBits == 128 ? 96 : 0;
  if (length < front || length > familyBits) {
    return invalid("CIDR: length " + std::to_string(length) + " of " + ip->toString());
  }
  out = {*ip, static_cast<uint8_t>(length - front)};
  return true;
}

bool FieldReader::readPortMap(protozero::pbf_reader in, std::vector<PortMap>& out,
                              bool zeroTarget) {
  uint64_t service = 0;
  uint64_t target = 0;
  while (in.next()) {
    switch (in.tag_and_type()) {
      case number(1):
        service = in.get_uint64();
        break;
      case number(2):
        target = in.get_uint64();
        break;
      default:
        return unknownField(in, "PortMap");
    }
  }
  PortMap& map = out.emplace_back();
  return room(out.size() - 1, kPortsMax, "ports") &&
         readPort(service, map.servicePort, "service port") &&
         readPort(target, map.targetPort, "target port", zeroTarget);
}

std::optional<Ip> FieldReader::ipOf(const protozero::data_view& view) {
  return Ip::fromBytes({reinterpret_cast<const uint8_t*>(view.data()), view.size()});
}

}  // namespace weft::proxy
