// SPDX-License-Identifier: Apache-2.0
// Apart, since the kernel's header for this and that of the C library exclude each other.
#include "io/segments.h"

#include <linux/tcp.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <cstdlib>

namespace weft::test {

Segments segmentsOf(int fd) {
  tcp_info info{};
  socklen_t length = sizeof info;
  if (::getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &length) != 0) {
    std::abort();
  }
  return {info.tcpi_segs_out, info.tcpi_segs_in, info.tcpi_data_segs_in};
}

}  // namespace weft::test
