// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/ip.h"
#include "proxy/policy.h"

namespace weft::proxy {

/// From this many rules on a group of policies is indexed; fewer are faster gone through.
inline constexpr size_t kIndexFromRules = 16;

struct CidrHash {
  size_t operator()(const Cidr& range) const {
    // Multiplied, so that the length reaches the top byte, which chooses the shard.
    return IpHash{}(range.ip) ^ (size_t{range.length} * 0x9e3779b97f4a7c15);
  }
};

/// The rules of one group of policies, found by what a connection must have for them to match: an
/// index by principal, service account, namespace, source address and port. What is found is then
/// evaluated in full, so the index changes the cost and never the verdict. Immutable; any thread.
class PolicyIndex {
 public:
  /// A policy that matches, by which of its rules.
  struct Hit {
    const Policy* policy = nullptr;  ///< Null: none. Valid as long as the index.
    size_t rule = 0;
  };
  struct Hits {
    Hit denied;
    Hit allowed;
  };

  /// `policies` in the order of their keys. Dry-run ones belong in no index.
  explicit PolicyIndex(std::vector<std::shared_ptr<const Policy>> policies);

  /// The first DENY and the first ALLOW that match, by key and then by rule.
  Hits decide(const PolicySubject& subject, const PolicyClient& client) const;
  bool hasAllow() const { return hasAllow_; }
  const std::vector<std::shared_ptr<const Policy>>& policies() const { return policies_; }
  /// How many rules decide() would evaluate for this connection, for tests and benches.
  size_t costOf(const PolicySubject& subject, const PolicyClient& client) const;

 private:
  enum class Kind : uint8_t { kPrincipal, kPrefix, kSuffix, kNamespace, kAccount };
  struct TextKey {
    Kind kind;
    std::string_view text;  // into a policy
    std::string_view more;  // kAccount: the account, where text is its namespace
    bool operator==(const TextKey&) const = default;
  };
  struct TextKeyHash {
    size_t operator()(const TextKey& key) const;
  };
  /// A rule by the places of its policy and of itself.
  struct RuleRef {
    uint32_t policy;
    uint32_t rule;
    auto operator<=>(const RuleRef&) const = default;
  };
  using RuleRefs = std::vector<RuleRef>;

  void add(RuleRef ref, const PolicyRule& rule);
  void addKeysOf(RuleRef ref, const PolicyMatch& match);
  template <typename Visit>
  void forEachCandidate(const PolicySubject& subject, const PolicyClient& client,
                        Visit visit) const;
  template <typename Visit>
  void forEachText(const PolicyClient& client, Visit visit) const;

  std::vector<std::shared_ptr<const Policy>> policies_;
  bool hasAllow_ = false;
  std::unordered_map<TextKey, RuleRefs, TextKeyHash> texts_;
  std::unordered_map<Cidr, RuleRefs, CidrHash> sources_;
  std::unordered_map<uint16_t, RuleRefs> ports_;
  RuleRefs rest_;  // found by nothing: evaluated for every connection
  // The lengths that occur, so that a look-up tries no others. Sorted.
  std::vector<size_t> prefixLengths_;
  std::vector<size_t> suffixLengths_;
  std::vector<uint8_t> v4Lengths_;
  std::vector<uint8_t> v6Lengths_;
};

}  // namespace weft::proxy
