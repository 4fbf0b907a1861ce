#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Both ends of more captured connections than one process may hold.

captured_crowd.py proxy PINS PROCESSES
    Stands in for a proxy in a pod: takes the origin of each connection at port 15001 from the tables
    below PINS, tells it (16 bytes of address, 2 of port, all zero when there is none), and sends back
    what comes. Says so when it listens.
captured_crowd.py client
    Each line of standard input is a request in JSON, each line of standard output its answer:
    {"op": "open", "host", "port", "count"} opens connections one by one until one fails, and answers
    how many were opened, how many were told "host" and "port" as their origin, and the error; "from" is
    a port that the kernel tries for the first, and so on: it takes milliseconds to find the last free
    ones by itself;
    {"op": "alive"} answers how many of all that are open bring a byte back; {"op": "reset", "count"}
    resets the last of them.

The end of standard input ends either.
"""

import ctypes
import errno
import glob
import json
import os
import resource
import select
import socket
import struct
import sys
import threading

BPF = 321  # the system call of x86-64
LOOKUP, OBJ_GET, MAP_FD_BY_ID, LOOKUP_AND_DELETE = 1, 7, 14, 21
SO_NETNS_COOKIE = 71
IP_LOCAL_PORT_RANGE = 51  # Linux 6.3
PROXY_PORT = 15001
BACKLOG = 16384
CONNECTIONS_MAX = 12000  # of one process; the others take what is more
ORIGIN_BYTES = 64
TOLD_BYTES = 18
TIMEOUT_SECONDS = 20

libc = ctypes.CDLL(None, use_errno=True)


def bpf(command, attributes):
    buffer = ctypes.create_string_buffer(attributes.ljust(144, b"\0"), 144)
    result = libc.syscall(BPF, command, buffer, 144)
    if result < 0:
        raise OSError(ctypes.get_errno(), "bpf")
    return result


def look_up(command, table, key, size):
    given = ctypes.create_string_buffer(key, len(key))
    value = ctypes.create_string_buffer(size)
    bpf(command, struct.pack("=IIQQ", table, 0, ctypes.addressof(given), ctypes.addressof(value)))
    return value.raw


def origins_of_pod(pins):
    """The table of the pod whose network namespace this process is in."""
    [path] = glob.glob(f"{pins}/v*/maps/weft_origins")
    name = ctypes.create_string_buffer(path.encode())
    outer = bpf(OBJ_GET, struct.pack("=QII", ctypes.addressof(name), 0, 0))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        cookie = any_socket.getsockopt(socket.SOL_SOCKET, SO_NETNS_COOKIE, 8)
    [number] = struct.unpack("=I", look_up(LOOKUP, outer, cookie, 4))
    return bpf(MAP_FD_BY_ID, struct.pack("=II", number, 0))


def packed(host):
    if ":" in host:
        return socket.inet_pton(socket.AF_INET6, host)
    return b"\0" * 10 + b"\xff\xff" + socket.inet_aton(host)


def origin_of(connection, table):
    (remote, remote_port), (local, local_port) = (
        end()[:2] for end in (connection.getpeername, connection.getsockname)
    )
    key = packed(remote) + packed(local) + struct.pack("=HH", remote_port, local_port)
    try:
        origin = look_up(LOOKUP_AND_DELETE, table, key, ORIGIN_BYTES)
    except OSError:
        return bytes(TOLD_BYTES)
    return origin[:16] + struct.pack("!H", struct.unpack_from("=I", origin, 16)[0])


class Server:
    """What one process of the proxy has open."""

    def __init__(self, listener, table):
        self.listener = listener
        self.table = table
        self.open_ones = {}
        self.poller = select.epoll()
        self.poller.register(listener, select.EPOLLIN)

    def run(self):
        while True:
            for fd, _ in self.poller.poll():
                if fd == self.listener.fileno():
                    self.accept()
                else:
                    self.answer(fd)

    def accept(self):
        try:
            connection = self.listener.accept()[0]
        except BlockingIOError:  # another process was faster
            return
        connection.sendall(origin_of(connection, self.table))
        self.open_ones[connection.fileno()] = connection
        self.poller.register(connection, select.EPOLLIN)
        if len(self.open_ones) == CONNECTIONS_MAX:
            self.poller.unregister(self.listener)

    def answer(self, fd):
        try:
            data = self.open_ones[fd].recv(4096)
            if data:
                self.open_ones[fd].sendall(data)
                return
        except OSError:
            pass
        if len(self.open_ones) == CONNECTIONS_MAX:
            self.poller.register(self.listener, select.EPOLLIN)
        self.open_ones.pop(fd).close()


def be_proxy(pins, processes):
    listener = socket.socket(socket.AF_INET6, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    listener.bind(("::", PROXY_PORT))
    listener.listen(BACKLOG)
    listener.setblocking(False)
    table = origins_of_pod(pins)
    for _ in range(processes):
        if os.fork() == 0:
            threading.Thread(target=Server(listener, table).run, daemon=True).start()
            sys.stdin.read()
            os._exit(0)
    print("listening", flush=True)
    for _ in range(processes):
        os.wait()


def receive(connection, count):
    data = b""
    while len(data) < count and (more := connection.recv(count - len(data))):
        data += more
    return data


def prefer(connection, port):
    try:
        connection.setsockopt(socket.SOL_IP, IP_LOCAL_PORT_RANGE, struct.pack("=HH", port, port))
    except OSError:  # an older kernel, which is slower
        pass


def open_some(kept, request):
    host, port = request["host"], request["port"]
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    told = packed(host) + struct.pack("!H", port)
    opened = right = 0
    for at in range(request["count"]):
        connection = socket.socket(family, socket.SOCK_STREAM)
        connection.settimeout(TIMEOUT_SECONDS)
        # Its end leaves nothing of it: no port waits for a minute.
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        if "from" in request:
            prefer(connection, request["from"] + at)
        try:
            connection.connect((host, port))
        except OSError as error:
            connection.close()
            name = errno.errorcode.get(error.errno, str(error))
            return {"opened": opened, "right": right, "error": name}
        kept.append(connection)
        opened += 1
        right += receive(connection, TOLD_BYTES) == told
    return {"opened": opened, "right": right}


def alive(kept, _request):
    for connection in kept:
        connection.sendall(b"x")
    return {"count": sum(receive(connection, 1) == b"x" for connection in kept)}


def reset(kept, request):
    for _ in range(request["count"]):
        kept.pop().close()
    return {}


def be_client():
    kept = []
    for line in sys.stdin:
        request = json.loads(line)
        work = {"open": open_some, "alive": alive, "reset": reset}[request["op"]]
        print(json.dumps(work(kept, request)), flush=True)


def main(role, args):
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    if role == "proxy":
        be_proxy(args[0], int(args[1]))
    else:
        be_client()


main(sys.argv[1], sys.argv[2:])
