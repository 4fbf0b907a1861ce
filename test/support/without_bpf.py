#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""without_bpf.py NUMBER COMMAND...: runs a command for which the kernel refuses one command of bpf(2).

A filter of system calls answers EPERM to bpf(NUMBER, ...), for the command and all that it starts.
"""

import ctypes
import os
import struct
import sys

PR_SET_SECCOMP = 22
PR_SET_NO_NEW_PRIVS = 38
SECCOMP_MODE_FILTER = 2
ALLOW, REFUSE = 0x7FFF0000, 0x00050001  # and errno 1
LOAD_WORD, JUMP_IF_EQUAL, RETURN = 0x20, 0x15, 0x06
BPF = 321  # the system call of x86-64
NUMBER_AT, FIRST_ARGUMENT_AT = 0, 16


def main(number, command):
    program = b"".join(
        struct.pack("=HBBI", *line)
        for line in (
            (LOAD_WORD, 0, 0, NUMBER_AT),
            (JUMP_IF_EQUAL, 0, 3, BPF),
            (LOAD_WORD, 0, 0, FIRST_ARGUMENT_AT),
            (JUMP_IF_EQUAL, 0, 1, number),
            (RETURN, 0, 0, REFUSE),
            (RETURN, 0, 0, ALLOW),
        )
    )
    lines = ctypes.create_string_buffer(program, len(program))
    pointer = struct.pack("=HxxxxxxQ", len(program) // 8, ctypes.addressof(lines))
    filter_of = ctypes.create_string_buffer(pointer, len(pointer))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) or libc.prctl(
        PR_SET_SECCOMP, SECCOMP_MODE_FILTER, filter_of, 0, 0
    ):
        raise OSError(ctypes.get_errno(), "prctl")
    os.execvp(command[0], command)


main(int(sys.argv[1]), sys.argv[2:])
