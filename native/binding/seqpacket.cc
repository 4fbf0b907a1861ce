// SPDX-License-Identifier: Apache-2.0
#include "binding/seqpacket.h"

#include <sys/epoll.h>
#include <unistd.h>

#include <cerrno>
#include <functional>
#include <memory>
#include <string>
#include <utility>

#include "binding/convert.h"
#include "io/seqpacket.h"
#include "io/worker.h"

namespace weft::binding {
namespace {

constexpr size_t kPacketsPerTurn = 16;

/// The thread of all packet sockets. Made with the first socket and kept for the process's life:
/// the sockets of an environment that ends are closed by its own hooks.
io::Worker& packetThread() {
  static auto* worker = new io::Worker("weft-packets");
  return *worker;
}

/// What the packet thread tells about one socket. Called on that thread.
struct Receiver {
  std::function<void(io::Packet)> onPacket;
  std::function<void(std::string)> onClosed;
};

/// One connected socket, living on the packet thread.
class Socket final : public io::Pollable {
 public:
  Socket(int fd, Receiver receiver) : fd_(fd), receiver_(std::move(receiver)) {
    packetThread().loop().watch(fd_, this);
  }
  ~Socket() override { ::close(fd_); }

  void onReady(uint32_t) override { receive(); }
  void onAgain() override { receive(); }
  void close(std::string reason) {
    if (!std::exchange(closed_, true)) {
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
      switch (io::receivePacket(fd_, packet)) {
        case io::ReceiveOutcome::kLater:
          return;
        case io::ReceiveOutcome::kClosed:
          close("the peer closed the connection");
          return;
        case io::ReceiveOutcome::kPacket:
          receiver_.onPacket(std::move(packet));
          break;
      }
    }
    packetThread().loop().again(this);
  }

  int fd_;
  Receiver receiver_;
  bool closed_ = false;
};

/// What JavaScript holds for one socket: sends go out at once, on the main thread.
class Handle : public std::enable_shared_from_this<Handle> {
 public:
  explicit Handle(UniqueFd fd) : fd_(std::move(fd)) {}
  /// `receiver` is for the packet thread, which reads through a descriptor of its own.
  void start(Receiver receiver) {
    const int copy = ::dup(fd_.get());
    CHECK(copy >= 0);
    packetThread().post(
        [self = shared_from_this(), copy, receiver = std::move(receiver)]() mutable {
          self->socket_ = new Socket(copy, std::move(receiver));
        });
  }
  void close() {
    fd_.reset();
    packetThread().post([self = shared_from_this()] {
      if (self->socket_ != nullptr) {
        std::exchange(self->socket_, nullptr)->close("closed by us");
      }
    });
  }
  void drop() { fd_.reset(); }  ///< Main thread: the peer is gone.
  int fd() const { return fd_.get(); }
  void forget() { socket_ = nullptr; }  ///< Packet thread: the socket closed by itself.

 private:
  UniqueFd fd_;               // main thread
  Socket* socket_ = nullptr;  // packet thread
};

using Tsfn = Napi::ThreadSafeFunction;

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
             const Status sent =
                 io::sendPacket(handle->fd(), bytes.value(), info[1].ToNumber().Int32Value());
             if (!sent.ok()) {
               throwStatus(info.Env(), sent);
             }
           }));
  face.Set("close",
           Napi::Function::New(env, [handle](const Napi::CallbackInfo&) { handle->close(); }));
  return face;
}

/// Ties a socket to JavaScript callbacks. `onMessage(data, fds)` and `onClose(reason)` are called
/// on the main thread, in order; the thread-safe function goes with the socket.
void startReceiving(const std::shared_ptr<Handle>& handle, const Tsfn& tsfn,
                    std::function<void(Napi::Env, Napi::Value, Napi::Array)> onMessage,
                    std::function<void(Napi::Env, Napi::Value)> onClose) {
  Receiver receiver;
  receiver.onPacket = [tsfn, onMessage = std::move(onMessage)](io::Packet packet) {
    auto shared = std::make_shared<io::Packet>(std::move(packet));
    tsfn.NonBlockingCall([shared, onMessage](Napi::Env env, Napi::Function) {
      if (env != nullptr) {
        onMessage(env, dataOf(env, *shared), fdArray(env, shared));
      }
    });
  };
  receiver.onClosed = [tsfn, handle, onClose = std::move(onClose)](const std::string& reason) {
    handle->forget();
    tsfn.NonBlockingCall([reason, handle, onClose](Napi::Env env, Napi::Function) {
      handle->drop();
      if (env != nullptr) {
        onClose(env, Napi::String::New(env, reason));
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
  auto onMessage =
      std::make_shared<Napi::FunctionReference>(Napi::Persistent(info[1].As<Napi::Function>()));
  auto onClose =
      std::make_shared<Napi::FunctionReference>(Napi::Persistent(info[2].As<Napi::Function>()));
  // The references must be dropped on the main thread: by the finalizer, which runs there.
  auto tsfn = Tsfn::New(env, info[2].As<Napi::Function>(), "weft-packets", 0, 1,
                        [onMessage, onClose](Napi::Env) {
                          onMessage->Reset();
                          onClose->Reset();
                        });
  startReceiving(
      handle, tsfn,
      [onMessage](Napi::Env, Napi::Value data, Napi::Array fds) {
        onMessage->Call({data, fds});
      },
      [onClose](Napi::Env, Napi::Value reason) { onClose->Call({reason}); });
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

 private:
  UniqueFd fd_;
  std::function<void(UniqueFd)> onAccept_;
};

/// The three JavaScript callbacks of a listener.
struct ListenerCallbacks {
  Napi::FunctionReference onConnection;
  Napi::FunctionReference onMessage;
  Napi::FunctionReference onClose;
};

void acceptOnMainThread(Napi::Env env, UniqueFd fd,
                        const std::shared_ptr<ListenerCallbacks>& callbacks) {
  const Result<io::PeerCredentials> peer = io::peerCredentials(fd.get());
  if (!peer.ok() || (peer.value().uid != 0 && peer.value().uid != ::geteuid())) {
    return;  // fail closed: whoever is not root or ourselves is dropped unheard
  }
  auto handle = std::make_shared<Handle>(std::move(fd));
  Napi::Object face = faceOf(env, handle, peer.value());
  auto kept = std::make_shared<Napi::ObjectReference>(Napi::Persistent(face));
  auto tsfn = Tsfn::New(env, callbacks->onMessage.Value(), "weft-packets", 0, 1,
                        [kept](Napi::Env) { kept->Reset(); });
  callbacks->onConnection.Call({face});
  startReceiving(
      handle, tsfn,
      [callbacks, kept](Napi::Env, Napi::Value data, Napi::Array fds) {
        callbacks->onMessage.Call({kept->Value(), data, fds});
      },
      [callbacks, kept](Napi::Env, Napi::Value reason) {
        callbacks->onClose.Call({kept->Value(), reason});
      });
}

Napi::Value seqpacketListen(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  Result<UniqueFd> fd = io::listenSeqpacket(info[0].ToString().Utf8Value());
  if (!fd.ok()) {
    throwStatus(env, fd.status());
    return env.Undefined();
  }
  auto callbacks = std::make_shared<ListenerCallbacks>();
  callbacks->onConnection = Napi::Persistent(info[1].As<Napi::Function>());
  callbacks->onMessage = Napi::Persistent(info[2].As<Napi::Function>());
  callbacks->onClose = Napi::Persistent(info[3].As<Napi::Function>());
  auto tsfn = Tsfn::New(env, info[1].As<Napi::Function>(), "weft-packets", 0, 1);
  auto listening = std::make_shared<UniqueFd>(std::move(fd).value());
  auto acceptor = std::make_shared<Acceptor*>(nullptr);
  packetThread().post([listening, acceptor, tsfn, callbacks] {
    *acceptor = new Acceptor(std::move(*listening), [tsfn, callbacks](UniqueFd accepted) {
      auto shared = std::make_shared<UniqueFd>(std::move(accepted));
      tsfn.NonBlockingCall([shared, callbacks](Napi::Env e, Napi::Function) {
        if (e != nullptr) {
          acceptOnMainThread(e, std::move(*shared), callbacks);
        }
      });
    });
  });
  auto face = Napi::Object::New(env);
  face.Set("close", Napi::Function::New(env, [acceptor, tsfn](const Napi::CallbackInfo&) {
             packetThread().post([acceptor, tsfn] {
               if (*acceptor != nullptr) {
                 packetThread().loop().bury(
                     std::unique_ptr<io::Object>(std::exchange(*acceptor, nullptr)));
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
