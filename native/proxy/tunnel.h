// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/unique_fd.h"
#include "http/h2.h"
#include "proxy/pod.h"
#include "tls/session.h"

namespace weft::proxy {

class Pipe;
class Tunnel;

/// Who a tunnel works for: a pool (client role) or a pod's inbound side (server role).
class TunnelUser {
 public:
  virtual ~TunnelUser() = default;
  /// TLS and HTTP/2 are up; streams may be opened.
  virtual void onTunnelUp(Tunnel& tunnel) = 0;
  /// Server role: a request came. The user answers through tunnel.h2().
  virtual void onTunnelRequest(Tunnel& tunnel, http::StreamId id, std::string_view method,
                               const http::ConnectRequest& request) = 0;
  /// It takes no further streams. Called once, before its pipes are told.
  virtual void onTunnelGone(Tunnel& tunnel, const Outcome& outcome) = 0;
};

/// One HBONE connection: TCP, TLS and HTTP/2, with the pipes that run in it. One thread reads,
/// decrypts, routes, encrypts and sends: output of a turn is collected and leaves in one send.
class Tunnel final : public Connection,
                     private tls::PlainSink,
                     private tls::SessionOwner,
                     private http::H2Events,
                     private http::ByteWriter {
 public:
  /// What it is made of. `windows` says how much the peer may be promised.
  struct Parts {
    UniqueFd fd;  ///< Client role: connecting.
    std::unique_ptr<tls::Session> session;
    std::shared_ptr<http::WindowBudget> windows;
    Endpoint peer;
    // Server role only.
    Endpoint local;
    std::shared_ptr<Source> source;
    std::array<Claim, 2> handshake;  ///< Given back once it is up, or closed.
  };
  Tunnel(Pod& pod, TunnelUser& user, tls::Role role, Parts parts);

  void onReady(uint32_t events) override;
  void onAgain() override;
  void onNew() override;
  void onTurnEnd() override;
  void abort(const Outcome& outcome) override;
  void recheckPeer() override;
  void onIdentity() override;
  void describe(Snapshot& snapshot) const override;
  void drain() override;

  http::H2& h2() { return *h2_; }
  const tls::PeerIdentity& peerIdentity() const { return session_->peer(); }
  const Endpoint& peer() const { return peer_; }
  // Server role only.
  const Endpoint& local() const { return local_; }
  const std::shared_ptr<Source>& source() const { return source_; }
  bool up() const { return state_ == State::kUp; }
  /// True while another stream may be opened now.
  bool hasRoom() const;
  size_t load() const { return pipes_.size() + waiting_.size(); }
  /// What a further stream would meet: streams, and the bytes that wait to be sent as if they were
  /// streams of one read each.
  size_t cost() const { return load() + session_->unsent() / kReadBytesMax; }

  /// Pipes that wait until the tunnel is up.
  std::vector<Pipe*>& waiting() { return waiting_; }
  void attach(http::StreamId id, Pipe* pipe) { pipes_[id] = pipe; }
  /// Forgets a pipe wherever it is known.
  void detach(http::StreamId id, Pipe* pipe);

  /// True while so much is unsent that pipes should stop reading.
  bool congested() const;
  /// The pipe is told by resume() once the congestion is over.
  void waitForRoom(Pipe* pipe) { blocked_.push_back(pipe); }
  /// The pipe is told by flushToApp() when the bytes now being received are all delivered.
  void touch(Pipe* pipe) { touched_.push_back(pipe); }
  /// Server role: answers with `status`, then ends the stream both ways: the client need not send
  /// its payload any more (RFC 9113 section 8.1).
  void refuse(http::StreamId id, int status);
  /// Moves queued frames into TLS, so that a pipe may read more; sends when much has gathered.
  void push();
  /// Server role: the answer to a request is framed, since its application has accepted.
  void onAppAccepted();
  /// There is something to send.
  void markDirty() { pod_.worker().loop.atTurnEnd(this); }
  /// The same of what an application said, or of window that it gives back: the peer may wait for
  /// it.
  void markSaid() {
    said_ = true;
    markDirty();
  }
  /// Takes no new streams; closes when the last one ended.
  void retire();

 private:
  enum class State { kConnecting, kHandshaking, kUp, kLingering, kDead };

  // tls::SessionOwner
  void onSessionReady() override;
  // tls::PlainSink
  Status onHandshakeDone() override;
  Status onPlain(std::span<uint8_t> plain) override;
  // http::H2Events
  void onRequest(http::StreamId id, std::string_view method,
                 const http::ConnectRequest& request) override;
  void onResponse(http::StreamId id, int status, const std::vector<http::Header>& headers) override;
  void onData(http::StreamId id, std::span<uint8_t> data) override;
  void onEnd(http::StreamId id) override;
  void onReset(http::StreamId id, http::H2Error code) override;
  void onSendable(http::StreamId id) override;
  void onGoaway(http::StreamId lastId, http::H2Error code) override;
  // http::ByteWriter
  std::span<uint8_t> reserve(size_t min) override { return session_->reserve(min); }
  void commit(size_t n) override { session_->commit(n); }

  bool peerDenied() const;
  Pipe* pipeOf(http::StreamId id) const;
  void startHandshake();
  void tick();
  void resetStalled();
  void watchExpiry();
  void readSome();
  bool receive(std::span<uint8_t> cipher);
  void flushTouched();
  bool waitsWithGreeting(bool said);
  void holdGreeting();
  void sendFlight();
  void produce();
  void flush();
  void send();
  void unblock();
  void fail(const Outcome& outcome);
  void failBy(const Status& status);
  void account(size_t bytes);
  void endWhenSent();
  void discard();
  void closeIfIdle();
  void closeGracefully();
  void die();

  TunnelUser& user_;
  UniqueFd fd_;
  std::unique_ptr<tls::Session> session_;
  std::shared_ptr<http::WindowBudget> windows_;  // those of h2_ are given back to it
  std::unique_ptr<http::H2> h2_;
  tls::Role role_;
  State state_ = State::kConnecting;
  Endpoint peer_;
  Endpoint local_;
  std::shared_ptr<Source> source_;
  std::array<Claim, 2> handshake_;
  uint32_t arrived_ = 0;  // events that were not taken yet
  bool hangup_ = false;
  bool writeBlocked_ = false;
  bool retiring_ = false;
  bool draining_ = false;
  bool gone_ = false;
  bool http2Failed_ = false;
  bool unread_ = false;    // the last read left something
  bool missed_ = false;    // something came while the session waited
  bool drained_ = false;   // it left nothing
  bool closing_ = false;   // closes at the end of the turn, if it is unused then
  bool ended_ = false;     // our end of the connection was said
  bool greeted_ = false;   // client role: the peer's SETTINGS came
  bool greets_ = false;    // what a server says first, or a client then, has not been flushed
  bool said_ = false;      // markSaid() was called since the last flush
  bool awaited_ = false;   // it waits for what an application says, too
  int greetingTurns_ = 0;  // for which it may still wait
  size_t lingered_ = 0;
  int closeTries_ = 0;
  size_t counted_ = 0;  // unsent bytes, in the pod's budget
  std::unordered_map<http::StreamId, Pipe*> pipes_;
  std::vector<Pipe*> waiting_;
  std::vector<Pipe*> blocked_;
  std::vector<Pipe*> touched_;
  std::vector<http::StreamId> refused_;  // answered, to be reset once that is framed
  std::vector<Pipe*> flushing_;          // touched_, while it is walked
  io::Timer timer_;                      // connect, handshake, idle or linger: one at a time
  io::Timer tick_;
  std::shared_ptr<const tls::Identity> own_;
  uint64_t startedMicros_;
  uint64_t upMicros_ = 0;
  io::Timer expiry_;  // of the certificate that ends first
};

}  // namespace weft::proxy
