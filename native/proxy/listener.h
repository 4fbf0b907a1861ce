// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>

#include "base/unique_fd.h"
#include "proxy/pod.h"

namespace weft::proxy {

/// One listening socket of a pod. From accept() on it hands each accepted connection to `onAccept`,
/// at most kAcceptsPerTurn a turn. Out of descriptors, or after a turn in which nothing but errors
/// came, it waits a moment instead of spinning.
class Listener final : public Connection {
 public:
  using Accept = std::function<void(UniqueFd fd, const Endpoint& peer)>;
  Listener(Pod& pod, UniqueFd fd, Accept onAccept);

  /// Idempotent.
  void accept();
  int fd() const { return fd_.get(); }

  void onReady(uint32_t events) override;
  void onNew() override;
  void abort(const Outcome& outcome) override;
  void drain() override;

 private:
  void acceptSome();
  void retryLater();

  UniqueFd fd_;
  Accept onAccept_;
  bool accepts_ = false;
  io::Timer retry_;
};

}  // namespace weft::proxy
