// SPDX-License-Identifier: Apache-2.0
#include "proxy/service_decode.h"

#include <utility>

namespace weft::proxy {

using protozero::pbf_reader;

bool ServiceReader::readVip(pbf_reader in, Service& out) {
  if (!room(out.addresses.size(), kAddressesMax, "addresses")) {
    return false;
  }
  Vip vip;
  bool set = false;
  while (in.next()) {
    switch (in.tag_and_type()) {
      case text(1):
        if (!readRange(in.get_message(), vip.range)) {
          return false;
        }
        set = true;
        break;
      case text(2):
        if (!readText(in, vip.network, "network")) {
          return false;
        }
        break;
      default:
        return unknownField(in, "Vip");
    }
  }
  vip.range = rangeOf(vip.range.ip, vip.range.length);
  out.addresses.push_back(std::move(vip));
  return set || invalid("address: empty");
}

bool ServiceReader::readLoadBalancing(pbf_reader in, LoadBalancing& out) {
  uint64_t value = 0;
  const auto readNearness = [&](uint64_t one) {
    out.preference.push_back(static_cast<Nearness>(one));
    return room(out.preference.size() - 1, kPreferencesMax, "preferences") &&
           ((one >= 1 && one <= 6) || invalid("preference: " + std::to_string(one)));
  };
  while (in.next()) {
    bool ok = true;
    switch (in.tag_and_type()) {
      case text(1): {
        const auto view = in.get_view();
        const char* at = view.data();
        const char* const end = at + view.size();
        while (ok && at != end) {
          ok = readNearness(protozero::decode_varint(&at, end));
        }
        break;
      }
      case number(1):
        ok = readNearness(in.get_uint64());
        break;
      case number(2):
        ok = readNumber(in, 3, value, "mode");
        out.mode = static_cast<LoadBalancing::Mode>(value);
        break;
      case number(3):
        ok = readFlag(in, out.allowUnhealthy, "allow unhealthy");
        break;
      default:
        return unknownField(in, "LoadBalancing");
    }
    if (!ok) {
      return false;
    }
  }
  return true;
}

bool ServiceReader::readServiceKind(pbf_reader& in, Service& out) {
  uint64_t value = 0;
  switch (in.tag_and_type()) {
    case text(8):
      out.loadBalancing = {};
      return readLoadBalancing(in.get_message(), out.loadBalancing);
    case number(9):
      return readFlag(in, out.ownNamespaceOnly, "visibility");
    case number(10):
      if (!readNumber(in, 3, value, "IP families")) {
        return false;
      }
      out.families = static_cast<Service::Families>(value);
      return true;
    case number(11):
      return readFlag(in, out.canonical, "canonical");
    case number(12):
      return readFlag(in, out.waypoint, "waypoint");
    default:
      return unknownField(in, "Service");
  }
}

bool ServiceReader::readService(pbf_reader in, Service& out) {
  while (in.next()) {
    bool ok = false;
    switch (in.tag_and_type()) {
      case text(1):
        ok = readKey(in, out.key, "key");
        break;
      case text(2):
        ok = readText(in, out.name, "name");
        break;
      case text(3):
        ok = readText(in, out.namespaceName, "namespace");
        break;
      case text(4):
        ok = readText(in, out.hostname, "hostname");
        break;
      case text(5):
        ok = readVip(in.get_message(), out);
        break;
      case text(6):
        ok = readPortMap(in.get_message(), out.ports, true);
        break;
      case text(7):
        ok = room(out.subjectAltNames.size(), kSubjectAltNamesMax, "subject alt names") &&
             readText(in, out.subjectAltNames.emplace_back(), "subject alt name");
        break;
      default:
        ok = readServiceKind(in, out);
    }
    if (!ok) {
      return false;
    }
  }
  return !out.key.empty() || invalid("key: empty");
}

}  // namespace weft::proxy
