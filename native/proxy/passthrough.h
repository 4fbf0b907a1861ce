// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/buffer.h"
#include "base/unique_fd.h"
#include "proxy/attempt.h"
#include "proxy/pod.h"

namespace weft::proxy {

/// Joins two sockets in plaintext: captured traffic to or from outside the mesh. FIN and RST pass
/// from one side to the other. Each direction holds at most Limits::passthroughBytes, counted in
/// the pod's budget, and kPassthroughBytesMin when that is used up.
class Passthrough final : public Connection {
 public:
  /// `client` is accepted, `server` is connecting.
  Passthrough(Pod& pod, Attempt client, UniqueFd server);

  void onReady(uint32_t events) override;
  void onAgain() override;
  void abort(const Outcome& outcome) override;
  void reauthorize() override;
  void describe(Snapshot& snapshot) const override;

 private:
  /// One socket, and what was read from the other one for it.
  struct Side {
    UniqueFd fd;
    Buffer pending;
    size_t counted = 0;  ///< Of `pending`, in the pod's budget.
    bool readable = false;
    bool ended = false;  ///< FIN came from it.
    bool shut = false;   ///< FIN was sent to it.
  };

  /// The server's socket has a Pollable of its own, since an event names only that.
  class ServerEvents final : public io::Pollable {
   public:
    explicit ServerEvents(Passthrough& owner) : owner_(&owner) {}
    void onReady(uint32_t events) override;
    void detach() { owner_ = nullptr; }

   private:
    Passthrough* owner_;
  };

  void onSide(Side& side, uint32_t events);
  void pump();
  bool move(Side& from, Side& to, uint64_t& count);
  bool writeTo(Side& to, uint64_t& count);
  void account(Side& side, size_t bytes);
  void connectDone(uint32_t events);
  void connectFailed(const Outcome& outcome);
  void leave();
  uint64_t idleLimitMs() const;
  void watchIdle();
  void finish(EventKind kind, const Outcome& outcome);

  Side client_;
  Side server_;
  std::unique_ptr<ServerEvents> serverEvents_;
  ConnectionInfo info_;
  std::unique_ptr<Retry> retry_;  // outbound, until the server took it
  bool connected_ = false;
  uint64_t activeMs_ = 0;  // a byte or an end moved last
  io::Timer timer_;        // connect, then idle
};

}  // namespace weft::proxy
