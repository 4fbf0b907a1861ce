// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/uio.h>

#include <functional>
#include <vector>

#include "base/buffer.h"
#include "base/unique_fd.h"
#include "http/h2.h"
#include "proxy/attempt.h"
#include "proxy/pod.h"

namespace weft::proxy {

class Tunnel;

/// Joins one application socket and one HTTP/2 stream, both ways. FIN and END_STREAM stand for each
/// other, as do RST and RST_STREAM. Back-pressure is in bytes: an application that does not read
/// leaves the stream's window shut, which stops the peer's application.
class Pipe final : public Connection {
 public:
  /// Client role: of an application's connection.
  Pipe(Pod& pod, Attempt attempt);
  /// Server role: `fd` connects to the application.
  Pipe(Pod& pod, UniqueFd fd, ConnectionInfo info);

  void onReady(uint32_t events) override;
  void onAgain() override;
  void abort(const Outcome& outcome) override;
  /// Its other side could not be had: is tried `elsewhere`, or once more, or ends as abort() says.
  void failed(const Outcome& outcome, bool elsewhere);
  void reauthorize() override;
  void describe(Snapshot& snapshot) const override;

  ConnectionInfo& info() { return info_; }

  /// Client role: the request was sent in stream `id`. Payload may follow it at once: the other end
  /// gives an application no byte before it authorized the stream.
  void attach(Tunnel& tunnel, http::StreamId id);
  /// Server role: the request arrived in stream `id`; answered once the application is connected.
  void serve(Tunnel& tunnel, http::StreamId id);
  /// Joins `list` until a stream is opened for it; leaves it by itself when it ends before.
  void waitIn(std::vector<Pipe*>& list);
  /// The list is going, or was emptied by its owner.
  void leaveList() { waitList_ = nullptr; }

  // From the tunnel.
  void onAnswer(int status);
  void deliver(std::span<uint8_t> data);
  void flushToApp();
  void onPeerEnd();
  void onPeerReset(http::H2Error code);
  void resume();  ///< There may be room to send again.
  void onTunnelGone(const Outcome& outcome);
  /// To be called about once a second. True when the peer has granted no window for
  /// Settings::stalledMs while bytes wait for it.
  bool stalled();
  void onStalled();  ///< Ends it for that.

 private:
  void connectDone(uint32_t events);
  void readFromApp();
  bool readOnce(size_t& budget);
  void onNoWindow();
  void stopsStalling();
  std::span<uint8_t> reserveRoom();
  bool hasToRepeat() const { return retry_ != nullptr && repeated_ < retry_->said.size(); }
  void repeatOnce(std::span<uint8_t> room);
  void forgetSaid();
  void unanswered();
  void remember(std::span<const uint8_t> said);
  void leave();
  void onAppEnd();
  void writePending();
  void took(size_t n);
  io::Next nextToApp() const { return peerEnded_ ? io::Next::kEnd : io::Next::kAny; }
  void endToApp();
  void finishIfDone();
  uint64_t idleLimitMs() const;
  void watchIdle();
  void account();
  void finish(EventKind kind, const Outcome& outcome);
  void opened();
  uint64_t& sentByApp();
  uint64_t& sentToApp();

  UniqueFd fd_;
  ConnectionInfo info_;
  std::unique_ptr<Retry> retry_;            // client role, until the peer took it, whole
  size_t repeated_ = 0;                     // of retry_->said, in this stream
  Tunnel* tunnel_ = nullptr;                // null before a stream is opened
  std::vector<Pipe*>* waitList_ = nullptr;  // the list it waits in
  http::StreamId id_ = 0;
  bool connected_;
  bool opened_ = false;   // KIND_OPENED was reported
  bool maySend_ = false;  // a stream is there to carry what the application sends
  bool readable_ = false;
  bool hangup_ = false;
  bool appEnded_ = false;   // the application sent FIN; END_STREAM is queued
  bool peerEnded_ = false;  // END_STREAM came
  bool shut_ = false;       // FIN was sent to the application
  bool blocked_ = false;
  bool noWindow_ = false;      // for what the application may have said
  bool streamGone_ = false;    // HTTP/2 forgot the stream; the tunnel still knows this pipe by id_
  std::vector<iovec> pieces_;  // into the tunnel's receive scratch; emptied by flushToApp()
  Buffer pending_;             // what the application did not take; bounded by the stream's window
  size_t counted_ = 0;         // of pending_ and retry_->said, in the pod's budget
  uint64_t activeMs_ = 0;      // a byte or an end moved last
  uint64_t stalledMs_ = 0;     // noWindow_, and bytes were seen to wait since; 0 when none were
  io::Timer timer_;            // connect or answer, then idle
};

}  // namespace weft::proxy
