/* SPDX-License-Identifier: Apache-2.0 */
/* Preloaded: kills the process with SIGKILL right before the step of capture that KILL_AT says,
 * counted from 1. A step is what changes what others see: a pin, or another program at a link; those
 * of maps do not. Says on standard error how many there were when the process ends by itself. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <linux/bpf.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

static int steps;

static void step(void) {
  const char* at = getenv("KILL_AT");
  steps++;
  if (at && atoi(at) == steps)
    kill(getpid(), SIGKILL);
}

__attribute__((destructor)) static void tell(void) {
  fprintf(stderr, "steps %d\n", steps);
}

long syscall(long number, ...) {
  static long (*next)(long, ...);
  long given[6];
  va_list arguments;
  va_start(arguments, number);
  for (int i = 0; i < 6; i++)
    given[i] = va_arg(arguments, long);
  va_end(arguments);
  if (!next)
    next = (long (*)(long, ...))dlsym(RTLD_NEXT, "syscall");
  if (number == SYS_bpf && (given[0] == BPF_OBJ_PIN || given[0] == BPF_LINK_UPDATE))
    step();
  return next(number, given[0], given[1], given[2], given[3], given[4], given[5]);
}

int rename(const char* from, const char* to) {
  static int (*next)(const char*, const char*);
  if (!next)
    next = (int (*)(const char*, const char*))dlsym(RTLD_NEXT, "rename");
  step();
  return next(from, to);
}

int unlink(const char* path) {
  static int (*next)(const char*);
  if (!next)
    next = (int (*)(const char*))dlsym(RTLD_NEXT, "unlink");
  step();
  return next(path);
}
