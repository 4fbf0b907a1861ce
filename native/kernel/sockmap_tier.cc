// SPDX-License-Identifier: Apache-2.0
#include "kernel/sockmap_tier.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/stat.h>

#include <cerrno>
#include <thread>

#include "base/unique_fd.h"
#include "kernel/pins.h"

namespace weft::kernel {

Result<std::unique_ptr<SockmapTier>> SockmapTier::open(const std::string& pins,
                                                       const std::string& cgroup) {
  const Pins places(pins);
  const UniqueFd above(::open(cgroup.c_str(), O_RDONLY | O_CLOEXEC | O_DIRECTORY));
  struct stat place {};
  if (!above || ::fstat(above.get(), &place) != 0) {
    return Status::fromErrno(cgroup.c_str(), errno);
  }
  Result<ObjectPtr> object = load(objects::sockmap(), places.maps());
  if (!object.ok()) {
    return object.status();
  }
  const bpf_program* ulp =
      bpf_object__find_program_by_name(object.value().get(), "weft_refuse_ulp");
  CHECK(ulp != nullptr);
  // Before the first socket is enrolled, or one could slip through.
  if (Status status = pinAttached(*ulp, places.link("weft_refuse_ulp"), place.st_ino,
                                  [&] { return bpf_program__attach_cgroup(ulp, above.get()); });
      !status.ok()) {
    return status;
  }
  Result<SockmapPrograms> programs = SockmapPrograms::install(std::move(object).value());
  if (!programs.ok()) {
    return programs.status();
  }
  return std::unique_ptr<SockmapTier>(new SockmapTier(std::move(programs).value()));
}

Status SockmapTier::promote(int netns) const {
  Status status;
  std::thread([&] {
    status =
        ::setns(netns, CLONE_NEWNET) == 0 ? programs_.promote() : Status::fromErrno("setns", errno);
  }).join();
  return status;
}

}  // namespace weft::kernel
