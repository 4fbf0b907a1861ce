// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <vector>

#include "base/status.h"
#include "base/unique_fd.h"

namespace weft::io {

/// Creates a non-blocking, close-on-exec socket that belongs to the network namespace `netns`, or
/// to the thread's own when `netns` is negative. The thread is in the other namespace for that one
/// call only; when it cannot come back the process aborts, since every later socket would be
/// misplaced. Must not be called on a thread that runs JavaScript or a library's work: workers
/// only.
Result<UniqueFd> socketIn(int netns, int family, int type, int protocol = 0);

/// The same for `count` sockets, in one visit: appended to `out`, at least one when ok.
Status socketsIn(int netns, int family, int type, size_t count, std::vector<UniqueFd>& out,
                 int protocol = 0);

/// The number by which the kernel's programs know the namespace `netns`, or the thread's own when
/// it is negative: never used twice while the machine is up. For workers only, as above.
Result<uint64_t> netnsCookie(int netns);

/// kInvalid unless `fd` is a network namespace.
Status checkNetns(int fd);

}  // namespace weft::io
