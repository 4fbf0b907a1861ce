// SPDX-License-Identifier: Apache-2.0
#include "io/worker.h"

#include <pthread.h>

#include <csignal>
#include <utility>

namespace weft::io {

Worker::Worker(std::string name, uint64_t busyPollMicros) : loop_({.micros = busyPollMicros}) {
  // A thread inherits the mask of its creator: set it round the start, so that no signal slips in.
  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  thread_ = std::thread([this, name = std::move(name)] {
    pthread_setname_np(pthread_self(), name.c_str());
    loop_.run();
  });
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

Worker::~Worker() {
  loop_.stop();
  thread_.join();
}

}  // namespace weft::io
