// SPDX-License-Identifier: Apache-2.0
// What the kernel's programs share with the engine: addresses, as bpf/include/addr.h handles them,
// and structures, as the BPF compiler laid them out by the type information in the objects.
#include "kernel/bpf.h"

#include <arpa/inet.h>
#include <bpf/btf.h>
#include <bpf/libbpf.h>
#include <doctest/doctest.h>

#include <cstddef>
#include <map>
#include <set>
#include <string>

#include "addr.h"
#include "base/ip.h"

using weft::Ip;
using weft::kernel::ObjectPtr;

// layout.S has the bytes.
extern "C" {
extern const std::byte weft_bpf_layout[];
extern const std::byte weft_bpf_layout_end[];
}

namespace {

weft_ip abi(const char* text) {
  return weft::kernel::toAbi(*Ip::parse(text));
}

struct Layout {
  size_t size = 0;
  std::map<std::string, size_t> offsets;
  bool operator==(const Layout&) const = default;
};

Layout inObject(const char* name) {
  bpf_object* raw =
      bpf_object__open_mem(weft_bpf_layout, weft_bpf_layout_end - weft_bpf_layout, nullptr);
  REQUIRE(raw != nullptr);
  const ObjectPtr opened(raw);
  const btf* types = bpf_object__btf(opened.get());
  REQUIRE(types != nullptr);
  const int id = btf__find_by_name_kind(types, name, BTF_KIND_STRUCT);
  REQUIRE(id > 0);
  const btf_type* type = btf__type_by_id(types, static_cast<uint32_t>(id));
  Layout layout;
  layout.size = type->size;
  const btf_member* member = btf_members(type);
  for (uint16_t i = 0; i < btf_vlen(type); i++) {
    layout.offsets[btf__name_by_offset(types, member[i].name_off)] =
        btf_member_bit_offset(type, i) / 8;
  }
  return layout;
}

}  // namespace

TEST_CASE("the kernel's programs hold addresses as the engine does") {
  weft_ip v4{};
  weft_ip_from_v4(&v4, inet_addr("10.1.2.3"));
  CHECK(weft::kernel::fromAbi(v4) == *Ip::parse("10.1.2.3"));
  in6_addr raw{};
  REQUIRE(inet_pton(AF_INET6, "fd00:1::2", &raw) == 1);
  weft_ip v6{};
  weft_ip_from_v6(&v6, raw.s6_addr32[0], raw.s6_addr32[1], raw.s6_addr32[2], raw.s6_addr32[3]);
  CHECK(weft::kernel::fromAbi(v6) == *Ip::parse("fd00:1::2"));
}

TEST_CASE("families, loopbacks and no address are told apart as the engine tells them") {
  for (const char* text :
       {"127.0.0.1", "127.255.255.254", "128.0.0.1", "126.0.0.1", "0.0.0.0", "0.0.0.1", "10.0.0.1",
        "::", "::1", "::2", "1::", "fd00::1", "::ffff:127.0.0.1", "::ffff:0:127.0.0.1"}) {
    INFO(text);
    const Ip ip = *Ip::parse(text);
    const weft_ip same = abi(text);
    CHECK((weft_ip_is_v4(&same) != 0) == ip.isV4());
    CHECK((weft_ip_is_loopback(&same) != 0) == ip.isLoopback());
    CHECK((weft_ip_is_any(&same) != 0) == ip.isAny());
  }
}

TEST_CASE("captured destinations get loopback addresses of their own") {
  std::set<uint32_t> seen;
  for (int i = 0; i < 1000; i++) {
    const weft_ip ip =
        abi(("10.0." + std::to_string(i / 250) + "." + std::to_string(i % 250)).c_str());
    const uint32_t to = weft_loopback_for(&ip, 80);
    CHECK((ntohl(to) & 0xffc00000U) == 0x7f400000U);
    CHECK(to == weft_loopback_for(&ip, 80));
    seen.insert(to);
    seen.insert(weft_loopback_for(&ip, 443));
  }
  CHECK(seen.size() > 1995);  // 2,000 of four million places: a clash is rare
}

#define AT(type, field) \
  { #field, offsetof(type, field) }
#define SAME(type, ...) CHECK(inObject(#type) == Layout{sizeof(type), {__VA_ARGS__}})

TEST_CASE("both compilers lay out what they share alike") {
  SAME(weft_ip, AT(weft_ip, words));
  SAME(weft_tuple, AT(weft_tuple, remote), AT(weft_tuple, local), AT(weft_tuple, remote_port),
       AT(weft_tuple, local_port));
  SAME(weft_origin, AT(weft_origin, ip), AT(weft_origin, port), AT(weft_origin, picked_port),
       AT(weft_origin, picked), AT(weft_origin, cookie), AT(weft_origin, born_ns));
  SAME(weft_pass, AT(weft_pass, born_ns), AT(weft_pass, cookie));
  SAME(weft_verdict_key, AT(weft_verdict_key, source), AT(weft_verdict_key, port),
       AT(weft_verdict_key, unused));
  SAME(weft_verdict, AT(weft_verdict, expires_ns), AT(weft_verdict, action),
       AT(weft_verdict, unused));
  SAME(weft_direct, AT(weft_direct, destination), AT(weft_direct, cookie), AT(weft_direct, born_ns),
       AT(weft_direct, state), AT(weft_direct, asked_port), AT(weft_direct, asked));
  SAME(weft_event, AT(weft_event, tuple), AT(weft_event, kind), AT(weft_event, source),
       AT(weft_event, destination), AT(weft_event, bytes_sent), AT(weft_event, bytes_received),
       AT(weft_event, duration_ns), AT(weft_event, rtt_us), AT(weft_event, retransmits),
       AT(weft_event, established), AT(weft_event, asked_port), AT(weft_event, asked),
       AT(weft_event, refused), AT(weft_event, unused));
  SAME(weft_service_key, AT(weft_service_key, ip), AT(weft_service_key, port),
       AT(weft_service_key, unused));
  SAME(weft_service, AT(weft_service, table), AT(weft_service, count), AT(weft_service, unused));
  SAME(weft_pick_key, AT(weft_pick_key, table), AT(weft_pick_key, index),
       AT(weft_pick_key, unused));
  SAME(weft_pick, AT(weft_pick, ip), AT(weft_pick, port), AT(weft_pick, keep), AT(weft_pick, other),
       AT(weft_pick, unused));
  SAME(weft_end, AT(weft_end, cookie), AT(weft_end, socket));
  SAME(weft_pair, AT(weft_pair, ends), AT(weft_pair, redirected), AT(weft_pair, redirecting),
       AT(weft_pair, off), AT(weft_pair, unused));
  SAME(weft_sockmap, AT(weft_sockmap, refused), AT(weft_sockmap, asked));
  SAME(weft_pod, AT(weft_pod, ipv4), AT(weft_pod, ipv6), AT(weft_pod, flags), AT(weft_pod, slots));
  SAME(weft_slots, AT(weft_slots, taken), AT(weft_slots, unused));
  SAME(weft_abilities, AT(weft_abilities, retval), AT(weft_abilities, mptcp),
       AT(weft_abilities, dns));
  SAME(weft_address, AT(weft_address, netns));
  SAME(weft_listener_key, AT(weft_listener_key, netns), AT(weft_listener_key, kind),
       AT(weft_listener_key, unused));
  SAME(weft_config, AT(weft_config, proxy_cgroup), AT(weft_config, probe_cgroup),
       AT(weft_config, proxy_level), AT(weft_config, probe_level), AT(weft_config, flags),
       AT(weft_config, unused));
}

TEST_CASE("keys have no padding, which programs would compare") {
  CHECK(sizeof(weft_tuple) == 2 * sizeof(weft_ip) + 2 * sizeof(uint16_t));
  CHECK(sizeof(weft_listener_key) == sizeof(uint64_t) + 2 * sizeof(uint32_t));
  CHECK(sizeof(weft_verdict_key) == sizeof(uint64_t) + 2 * sizeof(uint32_t));
  CHECK(sizeof(weft_service_key) == sizeof(weft_ip) + 2 * sizeof(uint32_t));
  CHECK(sizeof(weft_pick_key) == sizeof(uint64_t) + 2 * sizeof(uint32_t));
}
