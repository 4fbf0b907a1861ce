// SPDX-License-Identifier: Apache-2.0
#include "proxy/policy_decode.h"

#include <doctest/doctest.h>

#include <string>

#include "delta_writer.h"
#include "proxy/tables_decode.h"

namespace weft::proxy {
namespace {

using protozero::pbf_writer;
using Kind = StringMatch::Kind;

/// What reading a delta with one policy of these bytes comes to.
Result<TablesDelta> read(const std::string& policy) {
  DeltaWriter writer;
  writer.message(5, policy);
  return decodeTablesDelta(writer.bytes());
}

/// A policy with one match, that holds what `write` puts in it.
template <typename Write>
Result<TablesDelta> readMatch(Write write) {
  std::string bytes;
  {
    pbf_writer policy(bytes);
    policy.add_string(1, "shop/p");
    policy.add_string(2, "shop");
    policy.add_enum(3, 1);
    pbf_writer rule(policy, 5);
    pbf_writer clause(rule, 1);
    pbf_writer match(clause, 1);
    write(match);
  }
  return read(bytes);
}

const PolicyMatch& onlyMatch(const Result<TablesDelta>& delta) {
  return delta.value().policies.at(0)->rules.at(0).clauses.at(0).matches.at(0);
}

bool cidrOk(const std::string& address, uint64_t length) {
  return readMatch([&](pbf_writer& match) {
           pbf_writer cidr(match, 5);
           cidr.add_bytes(1, address);
           cidr.add_uint64(2, length);
         })
      .ok();
}

const std::string kMapped = std::string(10, '\0') + "\xff\xff\x0a" + std::string(3, '\0');

TEST_CASE("every field of a policy arrives") {
  PolicyMatch match;
  match.namespaces = {{Kind::kExact, "a"}};
  match.notNamespaces = {{Kind::kPrefix, "b"}};
  match.principals = {{Kind::kSuffix, "c"}, {Kind::kPresence, ""}};
  match.notPrincipals = {{Kind::kExact, ""}};
  match.sourceIps = {{*Ip::parse("10.0.0.0"), 8}};
  match.notSourceIps = {{*Ip::parse("fd00::"), 128}};
  match.destinationIps = {{*Ip::parse("0.0.0.0"), 0}};
  match.notDestinationIps = {{*Ip::parse("10.0.0.1"), 32}};
  match.destinationPorts = {1, 65535};
  match.notDestinationPorts = {80};
  match.serviceAccounts = {{"ns", "sa"}};
  match.notServiceAccounts = {{"ns2", "sa2"}};
  Policy in;
  in.key = "shop/p";
  in.namespaceName = "shop";
  in.scope = PolicyScope::kWorkload;
  in.action = PolicyAction::kDeny;
  in.dryRun = true;
  in.rules = {{}, {{{}, {{{}, match}}}}};
  const auto delta = read(DeltaWriter::encode(in));
  REQUIRE(delta.ok());
  CHECK(*delta.value().policies.at(0) == in);
}

TEST_CASE("scope and action that are left out are global and allow, as proto3 has it") {
  const auto delta = read(std::string("\x0a\x01p", 3));
  REQUIRE(delta.ok());
  CHECK(delta.value().policies.at(0)->scope == PolicyScope::kGlobal);
  CHECK(delta.value().policies.at(0)->action == PolicyAction::kAllow);
}

TEST_CASE("a policy needs a key, and with the scope of a namespace a namespace") {
  Policy policy;
  policy.scope = PolicyScope::kGlobal;
  CHECK(read(DeltaWriter::encode(policy)).status().code() == Code::kInvalid);
  policy.key = "p";
  CHECK(read(DeltaWriter::encode(policy)).ok());
  policy.scope = PolicyScope::kWorkload;
  CHECK(read(DeltaWriter::encode(policy)).ok());
  policy.scope = PolicyScope::kNamespace;
  CHECK(read(DeltaWriter::encode(policy)).status().code() == Code::kInvalid);
}

TEST_CASE("an unknown scope or action is refused") {
  const auto withEnum = [](uint32_t tag, int32_t value) {
    std::string bytes;
    pbf_writer policy(bytes);
    policy.add_string(1, "shop/p");
    policy.add_string(2, "shop");
    policy.add_enum(tag, value);
    return read(bytes).ok();
  };
  CHECK(withEnum(3, 2));
  CHECK_FALSE(withEnum(3, 3));
  CHECK_FALSE(withEnum(3, -1));
  CHECK(withEnum(4, 1));
  CHECK_FALSE(withEnum(4, 2));
}

TEST_CASE("a field that is not known is refused at every level") {
  const auto at = [](int level) {
    std::string bytes;
    {
      pbf_writer policy(bytes);
      policy.add_string(1, "p");
      if (level == 0) {
        policy.add_uint32(13, 1);
      }
      pbf_writer rule(policy, 5);
      if (level == 1) {
        rule.add_uint32(13, 1);
      }
      pbf_writer clause(rule, 1);
      if (level == 2) {
        clause.add_uint32(13, 1);
      }
      pbf_writer match(clause, 1);
      if (level == 3) {
        match.add_uint32(13, 1);
      }
      pbf_writer text(match, 1);
      text.add_string(1, "x");
      if (level == 4) {
        text.add_uint32(13, 1);
      }
    }
    return read(bytes).ok();
  };
  for (int level = 0; level <= 4; level++) {
    CAPTURE(level);
    CHECK_FALSE(at(level));
  }
  CHECK(at(5));
}

TEST_CASE("a text match has exactly one kind") {
  const auto text = [](auto write) {
    return readMatch([&](pbf_writer& match) {
             pbf_writer inner(match, 3);
             write(inner);
           })
        .ok();
  };
  CHECK(text([](pbf_writer& out) { out.add_string(1, ""); }));
  CHECK(text([](pbf_writer& out) { out.add_bool(4, true); }));
  CHECK_FALSE(readMatch([](pbf_writer& match) { match.add_bytes(3, ""); }).ok());
  CHECK_FALSE(text([](pbf_writer& out) { out.add_bool(4, false); }));
  CHECK_FALSE(text([](pbf_writer& out) {
    out.add_string(1, "a");
    out.add_string(2, "b");
  }));
}

TEST_CASE("a block is at most as long as its family's addresses") {
  const std::string four(4, '\1');
  const std::string sixteen(16, '\1');
  CHECK(cidrOk(four, 0));
  CHECK(cidrOk(four, 32));
  CHECK_FALSE(cidrOk(four, 33));
  CHECK(cidrOk(sixteen, 128));
  CHECK_FALSE(cidrOk(sixteen, 129));
  CHECK_FALSE(cidrOk(four, (uint64_t{1} << 32) + 8));
  CHECK_FALSE(cidrOk("", 0));
  CHECK_FALSE(cidrOk(std::string(5, '\1'), 8));
  CHECK_FALSE(readMatch([](pbf_writer& match) {
                pbf_writer cidr(match, 5);
                cidr.add_uint32(2, 0);
              }).ok());
}

TEST_CASE("an IPv4 block in its mapped spelling is the IPv4 block") {
  const auto delta = readMatch([](pbf_writer& match) {
    pbf_writer cidr(match, 5);
    cidr.add_bytes(1, kMapped);
    cidr.add_uint32(2, 104);
  });
  REQUIRE(delta.ok());
  CHECK(onlyMatch(delta).sourceIps.at(0) == Cidr{*Ip::parse("10.0.0.0"), 8});
  CHECK(cidrOk(kMapped, 96));
  CHECK_FALSE(cidrOk(kMapped, 95));
  CHECK_FALSE(cidrOk(kMapped, 8));
}

TEST_CASE("a port of a policy is 1 to 65535, packed or not") {
  const auto port = [](uint64_t value) {
    const bool packed =
        readMatch([&](pbf_writer& match) { match.add_packed_uint64(9, &value, &value + 1); }).ok();
    const bool plain = readMatch([&](pbf_writer& match) { match.add_uint64(10, value); }).ok();
    CHECK(packed == plain);
    return packed;
  };
  CHECK(port(1));
  CHECK(port(65535));
  CHECK_FALSE(port(0));
  CHECK_FALSE(port(65536));
  CHECK_FALSE(port((uint64_t{1} << 32) + 80));
  CHECK_FALSE(readMatch([](pbf_writer& match) { match.add_bytes(9, "\x80"); }).ok());
}

TEST_CASE("a service account has a namespace and a name") {
  const auto account = [](const char* namespaceName, const char* name) {
    return readMatch([&](pbf_writer& match) {
             pbf_writer inner(match, 11);
             inner.add_string(1, namespaceName);
             inner.add_string(2, name);
           })
        .ok();
  };
  CHECK(account("ns", "sa"));
  CHECK_FALSE(account("", "sa"));
  CHECK_FALSE(account("ns", ""));
}

TEST_CASE("a text of a match has a greatest length") {
  const auto length = [](size_t bytes) {
    return readMatch([&](pbf_writer& match) {
             pbf_writer text(match, 1);
             text.add_string(1, std::string(bytes, 'x'));
           })
        .status()
        .code();
  };
  CHECK(length(kTextBytesMax) == Code::kOk);
  CHECK(length(kTextBytesMax + 1) == Code::kLimit);
}

TEST_CASE("the parts of one policy are counted together, and those of the next anew") {
  // One rule, one clause and one match are parts too.
  const auto ports = [](size_t count) {
    Policy policy;
    policy.key = "p" + std::to_string(count);
    policy.namespaceName = "shop";
    PolicyMatch match;
    match.destinationPorts.assign(count, 80);
    policy.rules = {{{{{match}}}}};
    return policy;
  };
  CHECK(read(DeltaWriter::encode(ports(kPolicyPartsMax - 3))).ok());
  const Status past = read(DeltaWriter::encode(ports(kPolicyPartsMax - 2))).status();
  CHECK(past.code() == Code::kLimit);
  CHECK(past.message() == "policy \"p65534\": parts: more than 65536");
  DeltaWriter two;
  two.add(ports(kPolicyPartsMax - 3)).add(ports(kPolicyPartsMax - 4));
  CHECK(decodeTablesDelta(two.bytes()).ok());
}

}  // namespace
}  // namespace weft::proxy
