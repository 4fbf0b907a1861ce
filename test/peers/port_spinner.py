# SPDX-License-Identifier: Apache-2.0
"""A process without rights that wants to share a UDP port of 127.0.0.1 with its owner.

port_spinner.py PORT   tries again and again to bind with SO_REUSEADDR, and whenever it may, looks
                       whether another socket has the port too. Ends when standard input does, and
                       prints how often it was refused, had the port alone, and shared it

Each line that is printed is one JSON value."""
import errno
import json
import select
import socket
import sys


def say(value):
    print(json.dumps(value), flush=True)


def bind(port):
    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        made.bind(("127.0.0.1", port))
    except OSError as error:
        made.close()
        return errno.errorcode[error.errno]
    return made


def owners(port):
    with open("/proc/self/net/udp", encoding="ascii") as table:
        return sum(line.split()[1] == f"0100007F:{port:04X}" for line in table)


def spin(port):
    seen = {"refused": 0, "alone": 0, "shared": 0}
    say("spinning")
    while not select.select([sys.stdin], [], [], 0)[0]:
        got = bind(port)
        if isinstance(got, str):
            seen["refused"] += 1
            continue
        seen["shared" if owners(port) > 1 else "alone"] += 1
        got.close()
    say(seen)


spin(int(sys.argv[1]))
