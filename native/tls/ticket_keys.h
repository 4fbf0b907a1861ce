// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "base/published.h"

namespace weft::tls {

/// How long after its full handshake a session may be resumed, at most.
inline constexpr int64_t kResumptionSeconds = 3600;

/// The keys that seal a server's session tickets (RFC 5077 section 4 as RFC 8446 section 4.6.1 uses
/// it): tickets are the server's whole memory of a session. Keys exist in memory only, are made
/// anew each hour and wiped an hour later. One for all workers of a process: thread safe.
class TicketKeys {
 public:
  /// What sealing adds: the key's name, a nonce and a tag.
  static constexpr size_t kOverheadBytes = 16 + 12 + 16;

  TicketKeys();
  ~TicketKeys();

  /// A ticket with `plain` in it, bound to `about`. Empty when the machine is out of randomness.
  std::vector<uint8_t> seal(std::span<const uint8_t> plain, std::span<const uint8_t> about,
                            int64_t nowSeconds);
  /// What is in a ticket (untrusted); nothing when it was not sealed here, or with a key that is
  /// gone, or about something else.
  std::optional<std::vector<uint8_t>> open(std::span<const uint8_t> ticket,
                                           std::span<const uint8_t> about, int64_t nowSeconds);

 private:
  struct Key;

  struct Ring;

  std::shared_ptr<const Ring> ringAt(int64_t nowSeconds);

  Published<Ring> ring_;
};

}  // namespace weft::tls
