// SPDX-License-Identifier: Apache-2.0
#include "kernel/sockmap.h"

#include <bpf/bpf.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <utility>

#include "base/unique_fd.h"

namespace weft::kernel {
namespace {

Status attachMessages(const bpf_object& object) {
  const bpf_program* message = bpf_object__find_program_by_name(&object, "weft_message");
  const bpf_program* redirect = bpf_object__find_program_by_name(&object, "weft_redirect");
  const bpf_map* redirects = bpf_object__find_map_by_name(&object, "weft_redirects");
  const bpf_map* ends = bpf_object__find_map_by_name(&object, "weft_ends");
  if (message == nullptr || redirect == nullptr || redirects == nullptr || ends == nullptr) {
    return {Code::kInternal, "the object of the sockmap tier lacks a part"};
  }
  const uint32_t zero = 0;
  const int program = bpf_program__fd(redirect);
  if (bpf_map_update_elem(bpf_map__fd(redirects), &zero, &program, BPF_ANY) != 0) {
    return bpfError("put weft_redirect in its place", errno);
  }
  const int error =
      bpf_prog_attach(bpf_program__fd(message), bpf_map__fd(ends), BPF_SK_MSG_VERDICT, 0);
  return error == 0 ? Status{} : bpfError("attach weft_message", error);
}

}  // namespace

Result<SockmapPrograms> SockmapPrograms::install(ObjectPtr object) {
  if (Status status = attachMessages(*object); !status.ok()) {
    return status;
  }
  const bpf_program* promote = bpf_object__find_program_by_name(object.get(), "weft_promote");
  LinkPtr promoter(promote == nullptr ? nullptr : bpf_program__attach_iter(promote, nullptr));
  if (promoter == nullptr) {
    return bpfError("attach weft_promote", errno);
  }
  return SockmapPrograms(std::move(object), std::move(promoter));
}

Status SockmapPrograms::promote() const {
  const UniqueFd pass(bpf_iter_create(bpf_link__fd(promoter_.get())));
  if (!pass) {
    return bpfError("go over the sockets", errno);
  }
  // The program writes nothing: reading is what runs it.
  std::array<char, 64> nothing{};
  ssize_t got = 0;
  do {
    got = ::read(pass.get(), nothing.data(), nothing.size());
  } while (got > 0 || (got < 0 && (errno == EINTR || errno == EAGAIN)));
  return got == 0 ? Status{} : bpfError("go over the sockets", errno);
}

int SockmapPrograms::map(const char* name) const {
  return bpf_object__find_map_fd_by_name(object_.get(), name);
}

}  // namespace weft::kernel
