// SPDX-License-Identifier: Apache-2.0
#include "binding/seqpacket.h"

#include <sys/epoll.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <functional>
#include <future>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "binding/convert.h"
#include "io/seqpacket.h"
#include "io/worker.h"

namespace weft::binding {
namespace {

constexpr size_t kPacketsPerTurn = 16;
/// Most packets of one socket that wait for the main thread. They hold descriptors, and a main
/// thread that is busy for a while must not cost the process all of its own.
constexpr uint32_t kWaitingPacketsMax = 64;

/// The thread of all packet sockets. Made with the first socket and kept for the process's life:
/// the sockets of an environment that ends are closed by its own hooks.
io::Worker& packetThread() {
  static auto* worker = new io::Worker("weft-packets");
  return *worker;
}

using Tsfn = Napi::ThreadSafeFunction;

/// What the packet thread tells about one socket. Called on that thread.
struct Receiver {
  std::function<bool(io::Packet)> onPacket;  ///< False: it is one too many, and dropped.
  std::function<void(std::string)> onClosed;
};

/// One connected socket, living on the packet thread. Its descriptor is shared with the main
/// thread, which sends through it.
class Socket final : public io::Pollable {
 public:
  Socket(std::shared_ptr<UniqueFd> fd, Receiver receiver)
      : fd_(std::move(fd)), receiver_(std::move(receiver)) {
    packetThread().loop().watch(fd_->get(), this);
  }

  void onReady(uint32_t) override { receive(); }
  void onAgain() override { receive(); }
  void close(std::string reason) {
    if (!std::exchange(closed_, true)) {
      // The main thread may keep the descriptor open for longer than this object lives.
      packetThread().loop().unwatch(fd_->get());
      receiver_.onClosed(std::move(reason));
      packetThread().loop().bury(std::unique_ptr<io::Object>(this));
    }
  }

 private:
  void receive() {
    for (size_t i = 0; i < kPacketsPerTurn; i++) {
      if (closed_) {
        return;
      }
      io::Packet packet;
      switch (io::receivePacket(fd_->get(), packet)) {
        case io::ReceiveOutcome::kLater:
          return;
        case io::ReceiveOutcome::kClosed:
          close("the peer closed the connection");
          return;
        case io::ReceiveOutcome::kPacket:
          // What is left of it could be another message, or have the right number of descriptors.
          if (packet.truncated) {
            close("a packet was too long, or had too many descriptors");
            return;
          }
          if (!receiver_.onPacket(std::move(packet))) {
            close("the peer does not wait for answers");
            return;
          }
          break;
      }
    }
    packetThread().loop().again(this);
  }

  std::shared_ptr<UniqueFd> fd_;
  Receiver receiver_;
  bool closed_ = false;
};

/// What JavaScript holds for one socket: sends go out at once, on the main thread.
class Handle : public std::enable_shared_from_this<Handle> {
 public:
  explicit Handle(UniqueFd fd) : fd_(std::make_shared<UniqueFd>(std::move(fd))) {}

  void start(Receiver receiver) {
    if (fd_ == nullptr) {  // closed before it began, by whoever was told of it
      receiver.onClosed("closed by us");
      return;
    }
    packetThread().post(
        [self = shared_from_this(), fd = fd_, receiver = std::move(receiver)]() mutable {
          self->socket_ = new Socket(std::move(fd), std::move(receiver));
        });
  }
  Status send(std::span<const uint8_t> bytes, int passFd) const {
    return fd_ != nullptr ? io::sendPacket(fd_->get(), bytes, passFd)
                          : Status{Code::kUnavailable, "the connection is closed"};
  }
  void close() {
    fd_.reset();
    packetThread().post([self = shared_from_this()] {
      if (self->socket_ != nullptr) {
        std::exchange(self->socket_, nullptr)->close("closed by us");
      }
    });
  }
  void drop() { fd_.reset(); }          ///< Main thread: the peer is gone.
  void forget() { socket_ = nullptr; }  ///< Packet thread: the socket closed by itself.

 private:
  std::shared_ptr<UniqueFd> fd_;  // main thread; null once closed
  Socket* socket_ = nullptr;      // packet thread
};

/// The JavaScript values of one connection. Owned by the finalizer of its thread-safe function, so
/// that they go on the main thread, after the last call that uses them.
struct Callbacks {
  Napi::FunctionReference onMessage;
  Napi::FunctionReference onClose;
  Napi::ObjectReference face;  // of an accepted connection: the first argument of both
};

/// What stays the same for all connections of a listener; owned likewise.
struct ListenerCallbacks {
  Napi::FunctionReference onConnection;
  Napi::FunctionReference onMessage;
  Napi::FunctionReference onClose;
};

template <typename Owned>
Tsfn functionOwning(Napi::Env env, const Napi::Function& any, Owned* owned) {
  return Tsfn::New(env, any, "weft-packets", 0, 1, [owned](Napi::Env) { delete owned; });
}

Napi::Array fdArray(Napi::Env env, const std::shared_ptr<io::Packet>& packet) {
  auto fds = Napi::Array::New(env, packet->fds.size());
  for (uint32_t i = 0; i < packet->fds.size(); i++) {
    fds.Set(i, Napi::Number::New(env, packet->fds[i].release()));
  }
  return fds;
}

Napi::Value dataOf(Napi::Env env, const io::Packet& packet) {
  return Napi::Buffer<uint8_t>::Copy(env, packet.bytes.data(), packet.bytes.size());
}

/// The JavaScript face of a handle: send(data, fd), close(), pid, uid.
Napi::Object faceOf(Napi::Env env, const std::shared_ptr<Handle>& handle,
                    const io::PeerCredentials& peer) {
  auto face = Napi::Object::New(env);
  face.Set("pid", Napi::Number::New(env, peer.pid));
  face.Set("uid", Napi::Number::New(env, peer.uid));
  face.Set("send", Napi::Function::New(env, [handle](const Napi::CallbackInfo& info) {
             const Result<std::span<uint8_t>> bytes = bytesOf(info[0]);
             if (!bytes.ok()) {
               throwStatus(info.Env(), bytes.status());
               return;
             }
             const Status sent = handle->send(bytes.value(), info[1].ToNumber().Int32Value());
             if (!sent.ok()) {
               throwStatus(info.Env(), sent);
             }
           }));
  face.Set("close",
           Napi::Function::New(env, [handle](const Napi::CallbackInfo&) { handle->close(); }));
  return face;
}

std::vector<napi_value> withFace(Callbacks& callbacks, std::vector<napi_value> rest) {
  if (!callbacks.face.IsEmpty()) {
    rest.insert(rest.begin(), callbacks.face.Value());
  }
  return rest;
}

/// Ties a socket to its JavaScript callbacks: onMessage([face,] data, fds) and onClose([face,]
/// reason), called on the main thread, in order. `callbacks` is owned by `tsfn`, which goes with
/// the socket.
void startReceiving(const std::shared_ptr<Handle>& handle, const Tsfn& tsfn, Callbacks* callbacks) {
  Receiver receiver;
  auto waiting = std::make_shared<std::atomic<uint32_t>>(0);
  receiver.onPacket = [tsfn, callbacks, waiting](io::Packet packet) {
    if (waiting->load() >= kWaitingPacketsMax) {
      return false;
    }
    waiting->fetch_add(1);
    auto shared = std::make_shared<io::Packet>(std::move(packet));
    tsfn.NonBlockingCall([shared, callbacks, waiting](Napi::Env env, Napi::Function) {
      waiting->fetch_sub(1);
      if (env != nullptr) {
        callbacks->onMessage.Call(
            withFace(*callbacks, {dataOf(env, *shared), fdArray(env, shared)}));
      }
    });
    return true;
  };
  receiver.onClosed = [tsfn, handle, callbacks](const std::string& reason) {
    handle->forget();
    tsfn.NonBlockingCall([reason, handle, callbacks](Napi::Env env, Napi::Function) {
      handle->drop();
      if (env != nullptr) {
        callbacks->onClose.Call(withFace(*callbacks, {Napi::String::New(env, reason)}));
      }
    });
    Tsfn(tsfn).Release();
  };
  handle->start(std::move(receiver));
}

Napi::Value seqpacketConnect(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  Result<UniqueFd> fd = io::connectSeqpacket(info[0].ToString().Utf8Value());
  if (!fd.ok()) {
    throwStatus(env, fd.status());
    return env.Undefined();
  }
  const Result<io::PeerCredentials> peer = io::peerCredentials(fd.value().get());
  if (!peer.ok()) {
    throwStatus(env, peer.status());
    return env.Undefined();
  }
  auto handle = std::make_shared<Handle>(std::move(fd).value());
  auto* callbacks = new Callbacks{Napi::Persistent(info[1].As<Napi::Function>()),
                                  Napi::Persistent(info[2].As<Napi::Function>()),
                                  {}};
  startReceiving(handle, functionOwning(env, info[1].As<Napi::Function>(), callbacks), callbacks);
  return faceOf(env, handle, peer.value());
}

/// The listening socket, on the packet thread.
class Acceptor final : public io::Pollable {
 public:
  Acceptor(UniqueFd fd, std::function<void(UniqueFd)> onAccept)
      : fd_(std::move(fd)), onAccept_(std::move(onAccept)) {
    packetThread().loop().watch(fd_.get(), this);
  }
  void onReady(uint32_t) override {
    for (int fd = io::acceptSeqpacket(fd_.get()); fd >= 0; fd = io::acceptSeqpacket(fd_.get())) {
      onAccept_(UniqueFd(fd));
    }
  }
  void close() {
    packetThread().loop().close(fd_);
    packetThread().loop().bury(std::unique_ptr<io::Object>(this));
  }

 private:
  UniqueFd fd_;
  std::function<void(UniqueFd)> onAccept_;
};

void acceptOnMainThread(Napi::Env env, UniqueFd fd, const ListenerCallbacks& listener) {
  const Result<io::PeerCredentials> peer = io::peerCredentials(fd.get());
  if (!peer.ok() || (peer.value().uid != 0 && peer.value().uid != ::geteuid())) {
    return;  // fail closed: whoever is not root or ourselves is dropped unheard
  }
  auto handle = std::make_shared<Handle>(std::move(fd));
  Napi::Object face = faceOf(env, handle, peer.value());
  auto* callbacks =
      new Callbacks{Napi::Persistent(listener.onMessage.Value()),
                    Napi::Persistent(listener.onClose.Value()), Napi::Persistent(face)};
  const Tsfn tsfn = functionOwning(env, listener.onMessage.Value(), callbacks);
  listener.onConnection.Call({face});
  startReceiving(handle, tsfn, callbacks);
}

/// Runs `work` on the packet thread and waits until it is done.
void onPacketThread(const std::function<void()>& work) {
  std::promise<void> done;
  packetThread().post([&] {
    work();
    done.set_value();
  });
  done.get_future().wait();
}

Napi::Value seqpacketListen(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  Result<UniqueFd> fd = io::listenSeqpacket(info[0].ToString().Utf8Value());
  if (!fd.ok()) {
    throwStatus(env, fd.status());
    return env.Undefined();
  }
  auto* callbacks = new ListenerCallbacks{Napi::Persistent(info[1].As<Napi::Function>()),
                                          Napi::Persistent(info[2].As<Napi::Function>()),
                                          Napi::Persistent(info[3].As<Napi::Function>())};
  const Tsfn tsfn = functionOwning(env, info[1].As<Napi::Function>(), callbacks);
  auto acceptor = std::make_shared<Acceptor*>(nullptr);
  onPacketThread([&] {
    *acceptor = new Acceptor(std::move(fd).value(), [tsfn, callbacks](UniqueFd accepted) {
      auto shared = std::make_shared<UniqueFd>(std::move(accepted));
      tsfn.NonBlockingCall([shared, callbacks](Napi::Env e, Napi::Function) {
        if (e != nullptr) {
          acceptOnMainThread(e, std::move(*shared), *callbacks);
        }
      });
    });
  });
  auto face = Napi::Object::New(env);
  face.Set("close", Napi::Function::New(env, [acceptor, tsfn](const Napi::CallbackInfo&) {
             // Waits, so that the path can be listened at again when this returns.
             onPacketThread([&] {
               if (*acceptor != nullptr) {
                 std::exchange(*acceptor, nullptr)->close();
                 Tsfn(tsfn).Release();
               }
             });
           }));
  return face;
}

}  // namespace

void defineSeqpacket(Napi::Env env, Napi::Object exports) {
  exports.Set("seqpacketListen", Napi::Function::New(env, seqpacketListen));
  exports.Set("seqpacketConnect", Napi::Function::New(env, seqpacketConnect));
}

}  // namespace weft::binding
