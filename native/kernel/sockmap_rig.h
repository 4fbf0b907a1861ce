// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/socket.h>

#include <cstdint>
#include <map>
#include <memory>
#include <string>

#include "base/status.h"
#include "base/unique_fd.h"
#include "kernel/scratch_netns.h"
#include "kernel/sockmap.h"
#include "mesh_abi.h"

namespace weft::kernel {

/// The tier by itself, for gates, tests and measurements: its programs with maps of their own, and
/// one network namespace that stands for both pods. No gate is asked. Nothing outlives it. On the
/// thread that made it, which is in the namespace meanwhile.
class SockmapRig {
 public:
  /// Both ends of a connection, which do not block, and its tuple.
  struct Ends {
    UniqueFd client;
    UniqueFd server;
    weft_tuple tuple{};
  };

  /// `address` is 127.0.0.1, ::1, or ::ffff:127.0.0.1 for IPv4 by sockets of IPv6. kInternal when
  /// the kernel refuses the programs.
  static Result<std::unique_ptr<SockmapRig>> open(const char* address = "127.0.0.1");

  /// A listening socket, and one that is connected to it, or is about to be.
  Result<UniqueFd> listen() const;
  Result<UniqueFd> connectTo(int listener) const;
  /// A connection that nobody knows of.
  Result<Ends> connect() const;
  /// Publishes it as a direct one of two pods that ask for the tier, and goes over the sockets.
  Status enrol(Ends& ends) const;
  /// The two after each other: a connection with both ends enrolled.
  Result<Ends> pair() const;
  /// Goes over the sockets.
  Status promote() const { return programs_.promote(); }

  /// What the kernel's programs know of the connection; all zero when they do not.
  weft_pair known(const Ends& ends) const;
  /// Takes the connection off the tier, or puts it back.
  Status setOff(const Ends& ends, bool off) const;
  /// By name, summed over the processors.
  std::map<std::string, uint64_t> counters() const;
  const SockmapPrograms& programs() const { return programs_; }

 private:
  SockmapRig(std::unique_ptr<ScratchNetns> netns, SockmapPrograms programs, const char* address)
      : netns_(std::move(netns)),
        programs_(std::move(programs)),
        address_(address),
        family_(address_.find(':') == std::string::npos ? AF_INET : AF_INET6) {}

  Status bePods();

  std::unique_ptr<ScratchNetns> netns_;
  SockmapPrograms programs_;
  const std::string address_;
  const int family_;
  uint64_t cookie_ = 0;
  UniqueFd directs_;
};

}  // namespace weft::kernel
