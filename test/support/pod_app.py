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
import select
import socket
import struct
import sys
import threading

CHUNK_BYTES = 256 << 10
TIMEOUT_SECONDS = 10
ETH_P_ALL = 3
SO_RCVBUFFORCE = 33  # not in the socket module
SNIFF_BUFFER_BYTES = 64 << 20

listeners = {}
streams = {}
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
    listener = socket.create_server(
        ("::", request["port"]), family=socket.AF_INET6, dualstack_ipv6=True
    )
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


def connect(request):
    family = socket.AF_INET6 if ":" in request["host"] else socket.AF_INET
    connection = socket.socket(family, socket.SOCK_STREAM)
    try:
        connection.settimeout(TIMEOUT_SECONDS)
        if "device" in request:
            connection.setsockopt(
                socket.SOL_SOCKET, socket.SO_BINDTODEVICE, request["device"].encode()
            )
        if "source" in request or "sourcePort" in request:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            connection.bind((request.get("source", ""), request.get("sourcePort", 0)))
        connection.connect((request["host"], request["port"]))
    except OSError:
        connection.close()
        raise
    return opened(connection)


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
        write,
        write_random,
        fill,
        read,
        read_all,
        end,
        reset,
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
    for line in sys.stdin:
        threading.Thread(target=answer, args=(json.loads(line),), daemon=True).start()
    os._exit(0)


if __name__ == "__main__":
    main()
