/* SPDX-License-Identifier: Apache-2.0 */
/* Preloaded: a kernel whose verifier refuses some programs. Those whose names REFUSE_PROGRAMS lists
 * (of 15 characters at most, between spaces), and those that use a map that REFUSE_MAPS lists, are
 * loaded with a first instruction that no verifier takes: a look past the end of what they are given.
 * All else is as it is. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <linux/bpf.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>

typedef long (*Syscall)(long, ...);
static Syscall next;

/* r0 = *(u32*)(r1 + 32760) */
static const struct bpf_insn past_the_end = {
    .code = BPF_LDX | BPF_MEM | BPF_W, .dst_reg = 0, .src_reg = 1, .off = 32760};

static int lists(const char* variable, const char* name) {
  const char* all = getenv(variable);
  const size_t length = strlen(name);
  for (const char* at = all; at && length > 0 && (at = strstr(at, name)); at += length)
    if ((at == all || at[-1] == ' ') && (at[length] == ' ' || at[length] == 0))
      return 1;
  return 0;
}

static int uses_listed_map(const struct bpf_insn* instructions, uint32_t count) {
  for (uint32_t i = 0; i < count; i++) {
    const struct bpf_insn* each = &instructions[i];
    if (each->code != (BPF_LD | BPF_IMM | BPF_DW) || each->src_reg != BPF_PSEUDO_MAP_FD)
      continue;
    struct bpf_map_info info = {};
    union bpf_attr ask = {};
    ask.info.bpf_fd = (uint32_t)each->imm;
    ask.info.info_len = sizeof info;
    ask.info.info = (uint64_t)(uintptr_t)&info;
    if (next(SYS_bpf, BPF_OBJ_GET_INFO_BY_FD, &ask, sizeof ask, 0, 0, 0) == 0 &&
        lists("REFUSE_MAPS", info.name))
      return 1;
  }
  return 0;
}

static long load_refused(union bpf_attr* attributes, long size) {
  const uint64_t given = attributes->insns;
  const size_t bytes = attributes->insn_cnt * sizeof(struct bpf_insn);
  struct bpf_insn* changed = malloc(bytes);
  if (!changed)
    abort();
  memcpy(changed, (const void*)(uintptr_t)given, bytes);
  changed[0] = past_the_end;
  /* In its place, since libbpf may know more of it than the headers here do. */
  attributes->insns = (uint64_t)(uintptr_t)changed;
  const long result = next(SYS_bpf, BPF_PROG_LOAD, attributes, size, 0, 0, 0);
  attributes->insns = given;
  free(changed);
  return result;
}

long syscall(long number, ...) {
  long given[6];
  va_list arguments;
  va_start(arguments, number);
  for (int i = 0; i < 6; i++)
    given[i] = va_arg(arguments, long);
  va_end(arguments);
  if (!next)
    next = (Syscall)dlsym(RTLD_NEXT, "syscall");
  union bpf_attr* attributes = (union bpf_attr*)given[1];
  if (number == SYS_bpf && given[0] == BPF_PROG_LOAD &&
      (lists("REFUSE_PROGRAMS", attributes->prog_name) ||
       uses_listed_map((const struct bpf_insn*)(uintptr_t)attributes->insns,
                       attributes->insn_cnt)))
    return load_refused(attributes, given[2]);
  return next(number, given[0], given[1], given[2], given[3], given[4], given[5]);
}
