// SPDX-License-Identifier: Apache-2.0
// The programs by which data goes past TCP; see bpf/sockmap.bpf.c.
#pragma once

#include <utility>

#include "base/status.h"
#include "kernel/bpf.h"
#include "kernel/links.h"

namespace weft::kernel {

/// The programs of one object, ready for sockets. One thread at a time.
class SockmapPrograms {
 public:
  /// Makes `object`, which is loaded, serve the sockets in its maps: those that are enrolled there
  /// already go on under its program.
  static Result<SockmapPrograms> install(ObjectPtr object);

  /// Enrols those sockets of the thread's own network namespace that may be, in one pass over them.
  Status promote() const;
  /// A map of the object, which owns it; -1 for a name that it does not have.
  int map(const char* name) const;
  bpf_object& object() const { return *object_; }

 private:
  SockmapPrograms(ObjectPtr object, LinkPtr promoter)
      : object_(std::move(object)), promoter_(std::move(promoter)) {}

  ObjectPtr object_;
  LinkPtr promoter_;
};

}  // namespace weft::kernel
