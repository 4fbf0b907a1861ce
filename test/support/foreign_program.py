#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""foreign_program.py HOOK PLACE [alone]: somebody else's program at a hook, until standard input ends.

HOOK is one of those below; PLACE a cgroup, or a network namespace's file. With "alone" nobody else may
attach one there or below it. Says so when it is attached. It lets everything go on.
"""

import ctypes
import os
import struct
import sys

BPF = 321  # the system call of x86-64
PROG_LOAD, PROG_ATTACH, PROG_DETACH, LINK_CREATE = 5, 8, 9, 28
ALLOW_MULTI = 2
SOCK, SOCK_OPS, SOCK_ADDR, SK_LOOKUP = 9, 13, 18, 30
HOOKS = {
    "sockops": (SOCK_OPS, 3),
    "connect4": (SOCK_ADDR, 10),
    "connect6": (SOCK_ADDR, 11),
    "sendmsg4": (SOCK_ADDR, 14),
    "sendmsg6": (SOCK_ADDR, 15),
    "recvmsg4": (SOCK_ADDR, 19),
    "recvmsg6": (SOCK_ADDR, 20),
    "getpeername4": (SOCK_ADDR, 29),
    "getpeername6": (SOCK_ADDR, 30),
    "getsockname4": (SOCK_ADDR, 31),
    "getsockname6": (SOCK_ADDR, 32),
    "sock_release": (SOCK, 34),
    "sk_lookup": (SK_LOOKUP, 36),
}
# r0 = 1; exit
INSTRUCTIONS = struct.pack("=BBhi", 0xB7, 0, 0, 1) + struct.pack("=BBhi", 0x95, 0, 0, 0)

libc = ctypes.CDLL(None, use_errno=True)


def bpf(command, attributes):
    buffer = ctypes.create_string_buffer(attributes.ljust(144, b"\0"), 144)
    result = libc.syscall(BPF, command, buffer, 144)
    if result < 0:
        raise OSError(ctypes.get_errno(), "bpf")
    return result


def main(hook, place, alone):
    kind, attach = HOOKS[hook]
    code = ctypes.create_string_buffer(INSTRUCTIONS, len(INSTRUCTIONS))
    licence = ctypes.create_string_buffer(b"GPL")
    load = struct.pack("=IIQQ", kind, 2, ctypes.addressof(code), ctypes.addressof(licence))
    load += struct.pack("=IIQII16sII", 0, 0, 0, 0, 0, b"stranger", 0, attach)
    program = bpf(PROG_LOAD, load)
    target = os.open(place, os.O_RDONLY)
    if kind == SK_LOOKUP:  # ends with this process
        bpf(LINK_CREATE, struct.pack("=IIII", program, target, attach, 0))
    else:
        flags = 0 if alone else ALLOW_MULTI
        bpf(PROG_ATTACH, struct.pack("=IIII", target, program, attach, flags))
    print("attached", flush=True)
    sys.stdin.read()
    if kind != SK_LOOKUP:
        bpf(PROG_DETACH, struct.pack("=III", target, program, attach))


main(sys.argv[1], sys.argv[2], "alone" in sys.argv[3:])
