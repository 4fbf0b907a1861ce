#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Applications in a pod, driven by a test.

Each line of standard input is a request {"id", "op", ...} in JSON, each line of standard output its
answer {"id", ...}, with "error" when it failed. Requests run at the same time. The end of standard
input ends the process, so that nothing is left behind by a test that was killed.
"""

import errno
import hashlib
import json
import os
import resource
import select
import socket
import struct
import sys
import threading
import time

CHUNK_BYTES = 256 << 10
TIMEOUT_SECONDS = 10
ETH_P_ALL = 3
# What the socket module lacks.
SO_RCVBUFFORCE = 33
IPPROTO_MPTCP = 262
IP_TRANSPARENT = 19
IPV6_TRANSPARENT = 75
TCP_FASTOPEN_CONNECT = 30
TCP_ULP = 31
SNIFF_BUFFER_BYTES = 64 << 20

listeners = {}
streams = {}
kept = []
workers = []
lock = threading.Lock()


class Stream:
    """A connection, with what it has sent and received so far."""

    def __init__(self, connection):
        connection.settimeout(TIMEOUT_SECONDS)
        self.connection = connection
        self.sent = 0
        self.sent_hash = hashlib.sha256()
        self.received = 0
        self.received_hash = hashlib.sha256()

    def note_sent(self, data):
        self.sent += len(data)
        self.sent_hash.update(data)

    def send(self, data):
        self.connection.sendall(data)
        self.note_sent(data)

    def receive(self, most):
        data = self.connection.recv(most)
        self.received += len(data)
        self.received_hash.update(data)
        return data

    def totals(self):
        return {
            "sent": self.sent,
            "sentSha256": self.sent_hash.hexdigest(),
            "received": self.received,
            "receivedSha256": self.received_hash.hexdigest(),
        }


def opened(connection):
    with lock:
        number = len(streams)
        streams[number] = Stream(connection)
    try:
        peer, local = connection.getpeername(), connection.getsockname()
    except OSError:  # it was reset already, which reading will tell
        peer = local = ("", 0)
    return {"stream": number, "peer": list(peer[:2]), "local": list(local[:2])}


def listen(request):
    listener = socket.socket(
        socket.AF_INET6, socket.SOCK_STREAM, IPPROTO_MPTCP if request.get("mptcp") else 0
    )
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    listener.bind(("::", request["port"]))
    listener.listen(request.get("backlog", 128))
    listener.settimeout(TIMEOUT_SECONDS)
    listeners[request["port"]] = listener
    return {}


def accept(request):
    return opened(listeners[request["port"]].accept()[0])


def echo_one(connection):
    try:
        while data := connection.recv(CHUNK_BYTES):
            connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)
    except OSError:
        pass
    connection.close()


def echo_all(listener):
    while True:
        threading.Thread(target=echo_one, args=(listener.accept()[0],), daemon=True).start()


def echo(request):
    listen(request)
    listener = listeners[request["port"]]
    listener.settimeout(None)
    threading.Thread(target=echo_all, args=(listener,), daemon=True).start()
    return {}


def tell_all(listener):
    while True:
        connection = listener.accept()[0]
        try:
            address = connection.getsockname()[0].removeprefix("::ffff:")
            connection.sendall(address.encode())
        except OSError:
            pass
        connection.close()


def tell(request):
    """Tells each connection the address that it reached, and ends it."""
    listen(request)
    listener = listeners[request["port"]]
    listener.settimeout(None)
    threading.Thread(target=tell_all, args=(listener,), daemon=True).start()
    return {}


def family_of(host):
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def prepare(connection, request):
    """Sets what a socket is asked to have before it connects."""
    if "device" in request:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, request["device"].encode())
    if request.get("transparent"):
        if connection.family == socket.AF_INET6:
            connection.setsockopt(socket.IPPROTO_IPV6, IPV6_TRANSPARENT, 1)
        else:
            connection.setsockopt(socket.IPPROTO_IP, IP_TRANSPARENT, 1)
    if request.get("fastOpen"):
        connection.setsockopt(socket.IPPROTO_TCP, TCP_FASTOPEN_CONNECT, 1)
    if "source" in request or "sourcePort" in request:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        connection.bind((request.get("source", ""), request.get("sourcePort", 0)))


def connect_waiting(connection, address):
    """As an event loop does it: connect, wait until it is writable, ask what became of it."""
    connection.setblocking(False)
    begun = connection.connect_ex(address)
    if begun not in (0, errno.EINPROGRESS):
        raise OSError(begun, os.strerror(begun))
    poller = select.poll()
    poller.register(connection, select.POLLOUT)
    if not poller.poll(TIMEOUT_SECONDS * 1000):
        raise TimeoutError
    failed = connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    if failed:
        raise OSError(failed, os.strerror(failed))


def fail(connection, request):
    """Connects where nobody listens. Only a blocking socket may try again at once."""
    own = "::1" if ":" in request["host"] else "127.0.0.1"
    before = connection.gettimeout()
    connection.settimeout(None)
    if connection.connect_ex((own, request["failAt"])) != errno.ECONNREFUSED:
        raise OSError(errno.EISCONN, "it did not fail")
    connection.settimeout(before)


def connect(request):
    address = (request["host"], request["port"])
    protocol = IPPROTO_MPTCP if request.get("mptcp") else 0
    connection = socket.socket(family_of(request["host"]), socket.SOCK_STREAM, protocol)
    try:
        connection.settimeout(request.get("waitMs", TIMEOUT_SECONDS * 1000) / 1000)
        prepare(connection, request)
        if "failAt" in request:
            fail(connection, request)
        if request.get("nonblocking"):
            connect_waiting(connection, address)
        elif "firstBytes" in request:  # the SYN goes with them
            connection.setblocking(True)
            connection.sendto(request["firstBytes"].encode(), socket.MSG_FASTOPEN, address)
        else:
            connection.connect(address)
    except OSError:
        connection.close()
        raise
    return opened(connection)


def connect_each(request):
    """Tries `count` times, each with a socket of its own unless all are to be by the `same`; answers
    how often which error came."""
    address = (request["host"], request["port"])
    protocol = IPPROTO_MPTCP if request.get("mptcp") else 0
    results = {}
    connection = None
    for _ in range(request["count"]):
        if connection is None or not request.get("same"):
            connection = socket.socket(family_of(request["host"]), socket.SOCK_STREAM, protocol)
            connection.setblocking(False)
            prepare(connection, request)
        code = connection.connect_ex(address)
        name = errno.errorcode.get(code, "OK")
        results[name] = results.get(name, 0) + 1
        if request.get("keep"):
            kept.append(connection)
        elif not request.get("same"):
            connection.close()
    return {"results": results}


def reached_by(address):
    try:
        with socket.create_connection(address, timeout=TIMEOUT_SECONDS) as connection:
            return connection.recv(100).decode() or "nowhere"
    except OSError as error:
        return name_of(error)


def reach_each(request):
    """Connects `count` times to who tells the address that was reached; how often each was."""
    address = (request["host"], request["port"])
    results = {}
    for _ in range(request["count"]):
        name = reached_by(address)
        results[name] = results.get(name, 0) + 1
    return {"results": results}


def connect_many(request):
    """Opens connections that are kept; `alive` looks after them."""
    for _ in range(request["count"]):
        connection = socket.create_connection(
            (request["host"], request["port"]), timeout=TIMEOUT_SECONDS
        )
        kept.append(connection)
    return {}


def alive(_request):
    """How many of the kept connections bring a byte back."""
    return {"count": exchange(kept)}


def ended(_request):
    """Waits until each of the kept connections has ended; how many did, and when the last one."""
    waiting = {connection.fileno() for connection in kept}
    count = len(waiting)
    poller = select.epoll()
    for descriptor in waiting:
        poller.register(descriptor, select.EPOLLRDHUP)
    until = time.monotonic() + TIMEOUT_SECONDS
    last = time.monotonic_ns()
    while waiting and time.monotonic() < until:
        for descriptor, _ in poller.poll(TIMEOUT_SECONDS):
            waiting.discard(descriptor)
            poller.unregister(descriptor)
            last = time.monotonic_ns()
    poller.close()
    return {"count": count - len(waiting), "lastNs": last}


def exchange(connections):
    """A byte there and back on each, one after the other is sent; how many brought it."""
    count = 0
    for connection in connections:
        try:
            connection.sendall(b"x")
        except OSError:
            pass
    for connection in connections:
        try:
            count += connection.recv(1) == b"x"
        except OSError:
            pass
    return count


def work(_request):
    """Has the kept connections carry bytes there and back from now on, until `rest`."""
    connections = list(kept)
    stop = threading.Event()
    told = {"rounds": 0, "lost": 0}

    def go_on():
        while not stop.is_set():
            told["lost"] += len(connections) - exchange(connections)
            told["rounds"] += 1

    thread = threading.Thread(target=go_on, daemon=True)
    thread.start()
    workers.append((thread, stop, told))
    return {}


def rest(_request):
    """Ends that; how many rounds there were, and how many bytes did not come back."""
    thread, stop, told = workers.pop()
    stop.set()
    thread.join()
    return told


def drop(request):
    """Closes what was kept, or so many of them, by a reset."""
    count = request.get("count", len(kept))
    for connection in kept[:count]:
        if "count" in request:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.close()
    del kept[:count]
    return {}


def question(request):
    """One datagram and its answer, with the address that this came from."""
    address = (request["host"], request["port"])
    with socket.socket(family_of(request["host"]), socket.SOCK_DGRAM) as asker:
        asker.settimeout(TIMEOUT_SECONDS)
        text = request["text"].encode("latin-1")
        if request["connected"]:
            asker.connect(address)
            asker.send(text)
            answer, source = asker.recv(CHUNK_BYTES), asker.getpeername()
        else:
            asker.sendto(text, address)
            answer, source = asker.recvfrom(CHUNK_BYTES)
    return {"text": answer.decode("latin-1"), "from": list(source[:2])}


def checksum(data):
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    total = (total >> 16) + (total & 0xFFFF)
    return ~(total + (total >> 16)) & 0xFFFF


def raw_syn(request):
    """Sends a SYN over IPv4 with whatever source is asked for."""
    source, host = socket.inet_aton(request["source"]), socket.inet_aton(request["host"])
    ports = (request["sourcePort"], request["port"])
    head = struct.pack("!HHIIBBHHH", *ports, 1, 0, 5 << 4, 2, 65535, 0, 0)
    pseudo = source + host + struct.pack("!BBH", 0, socket.IPPROTO_TCP, len(head))
    sum_of_all = struct.pack("!H", checksum(pseudo + head))
    segment = head[:16] + sum_of_all + head[18:]
    packet = struct.pack(
        "!BBHHHBBH4s4s", 0x45, 0, 20 + len(segment), 1, 0, 64, socket.IPPROTO_TCP, 0, source, host
    )
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW) as sender:
        sender.sendto(packet + segment, (request["host"], 0))
    return {}


def write(request):
    streams[request["stream"]].send(request["text"].encode("latin-1"))
    return {}


def write_random(request):
    stream = streams[request["stream"]]
    left = request["bytes"]
    while left:
        data = os.urandom(min(left, CHUNK_BYTES))
        stream.send(data)
        left -= len(data)
    return stream.totals()


def fill(request):
    """Sends until the peer takes nothing for `stallMs`, or until `bytes` are sent in all."""
    stream = streams[request["stream"]]
    poller = select.poll()
    poller.register(stream.connection, select.POLLOUT)
    stream.connection.setblocking(False)
    stalled = False
    while stream.sent < request["bytes"] and not stalled:
        stalled = not poller.poll(request["stallMs"])
        if not stalled:
            data = os.urandom(min(request["bytes"] - stream.sent, CHUNK_BYTES))
            try:
                stream.note_sent(data[: stream.connection.send(data)])
            except BlockingIOError:
                pass
    stream.connection.settimeout(TIMEOUT_SECONDS)
    return {"stalled": stalled, **stream.totals()}


def read(request):
    """Exactly so many bytes, or fewer when the peer ends."""
    stream = streams[request["stream"]]
    parts = []
    left = request["bytes"]
    while left and (data := stream.receive(min(left, CHUNK_BYTES))):
        parts.append(data)
        left -= len(data)
    return {"text": b"".join(parts).decode("latin-1")}


def read_all(request):
    """Until the peer ends; the text is the beginning."""
    stream = streams[request["stream"]]
    text = b""
    while data := stream.receive(CHUNK_BYTES):
        text = (text + data)[:1000]
    return {"text": text.decode("latin-1"), **stream.totals()}


def end(request):
    streams[request["stream"]].connection.shutdown(socket.SHUT_WR)
    return {}


def reset(request):
    connection = streams[request["stream"]].connection
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()
    return {}


def set_layer(request):
    """Sets a layer over TCP, by the kernel's name of it."""
    connection = streams[request["stream"]].connection
    connection.setsockopt(socket.IPPROTO_TCP, TCP_ULP, request["name"].encode())
    return {}


def sniff(request):
    """Begins to keep the frames of eth0. The kernel queues them before TCP sees them."""
    sniffer = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
    sniffer.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, SNIFF_BUFFER_BYTES)
    sniffer.bind(("eth0", ETH_P_ALL))
    sniffer.setblocking(False)
    listeners["sniffer"] = sniffer
    return {}


def sniffed(request):
    """How many frames went by since sniff, and how many of them hold the text."""
    sniffer = listeners.pop("sniffer")
    frames = []
    try:
        while True:
            frames.append(sniffer.recv(1 << 17))
    except BlockingIOError:
        pass
    sniffer.close()
    needle = request["text"].encode("latin-1")
    return {"frames": len(frames), "holding": sum(needle in frame for frame in frames)}


OPERATIONS = {
    each.__name__: each
    for each in (
        listen,
        accept,
        echo,
        connect,
        connect_each,
        tell,
        reach_each,
        connect_many,
        alive,
        ended,
        work,
        rest,
        drop,
        question,
        raw_syn,
        write,
        write_random,
        fill,
        read,
        read_all,
        end,
        reset,
        set_layer,
        sniff,
        sniffed,
    )
}


def name_of(error):
    if isinstance(error, TimeoutError):
        return "timeout"
    return errno.errorcode.get(error.errno, str(error))


def answer(request):
    try:
        fields = OPERATIONS[request["op"]](request)
    except OSError as error:
        fields = {"error": name_of(error)}
    except Exception as error:  # a mistake of the test's, to be told to it
        fields = {"error": repr(error)}
    with lock:
        print(json.dumps({"id": request["id"], **fields}), flush=True)


def main():
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    for line in sys.stdin:
        threading.Thread(target=answer, args=(json.loads(line),), daemon=True).start()
    os._exit(0)


if __name__ == "__main__":
    main()
