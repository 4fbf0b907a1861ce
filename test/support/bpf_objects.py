#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The ids of what is pinned below a folder (`pinned FOLDER`), and which of them are still there (`alive`, by standard input)."""

import ctypes
import json
import os
import struct
import sys

BPF = 321  # the system call of x86-64
LOOKUP, NEXT_KEY, OBJ_GET, INFO = 1, 4, 7, 15
FD_BY_ID = {"programs": 13, "maps": 14, "links": 30}
HASH_OF_MAPS = 13

libc = ctypes.CDLL(None, use_errno=True)


def bpf(command, attributes):
    buffer = ctypes.create_string_buffer(attributes.ljust(144, b"\0"), 144)
    result = libc.syscall(BPF, command, buffer, 144)
    if result < 0:
        raise OSError(ctypes.get_errno(), "bpf")
    return result


def info_of(fd):
    """The first three numbers: type, id, and the program of a link."""
    info = ctypes.create_string_buffer(256)
    bpf(INFO, struct.pack("=IIQ", fd, 256, ctypes.addressof(info)))
    return struct.unpack_from("=III", info)


def tables_in(fd):
    """The ids of the tables in a table of tables."""
    key, following, value = (ctypes.create_string_buffer(size) for size in (8, 8, 4))
    previous = 0
    ids = []
    while True:
        try:
            at = ctypes.addressof(following)
            bpf(NEXT_KEY, struct.pack("=IIQQ", fd, 0, previous, at))
        except OSError:
            return ids
        key.raw = following.raw
        previous = ctypes.addressof(key)
        bpf(LOOKUP, struct.pack("=IIQQ", fd, 0, previous, ctypes.addressof(value)))
        ids.append(struct.unpack("=I", value.raw)[0])


def pinned(folder):
    found = {"programs": set(), "maps": set(), "links": set()}
    for above, _, names in os.walk(folder):
        if above == folder:  # the kernel's own
            continue
        for name in names:
            path = ctypes.create_string_buffer(os.path.join(above, name).encode())
            fd = bpf(OBJ_GET, struct.pack("=QII", ctypes.addressof(path), 0, 0))
            kind, number, program = info_of(fd)
            if os.path.basename(above) == "maps":
                found["maps"].add(number)
                if kind == HASH_OF_MAPS:
                    found["maps"].update(tables_in(fd))
            else:
                found["links"].add(number)
                found["programs"].add(program)
            os.close(fd)
    return {kind: sorted(ids) for kind, ids in found.items()}


def is_alive(kind, number):
    try:
        os.close(bpf(FD_BY_ID[kind], struct.pack("=I", number)))
        return True
    except OSError:
        return False


def alive(wanted):
    return {kind: [id for id in ids if is_alive(kind, id)] for kind, ids in wanted.items()}


print(json.dumps(pinned(sys.argv[2]) if sys.argv[1] == "pinned" else alive(json.load(sys.stdin))))
