# SPDX-License-Identifier: Apache-2.0
"""An HBONE client that takes each of its requests back ("rapid reset"). Frames are written by hand,
since a library would pace them.

resetting_client.py HOST PORT CA CERT KEY AUTHORITY [ROUNDS]
    Each request is taken back at once, without end. With ROUNDS it opens as many streams as it may
    have, waits for all answers, and takes them back then, so many times.

Prints one line of JSON: how many requests went out and in how many seconds, how many were answered,
whether the server ended it, and the error code of the GOAWAY that came, -1 without one. Leaves at the
end of its input."""
import json
import socket
import ssl
import struct
import sys
import time

REQUESTS_MAX = 200_000
BATCH = 200
PATIENCE_S = 10
HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY = 1, 3, 4, 6, 7
ACK, END_HEADERS = 1, 4
CANCEL = struct.pack(">I", 8)


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


class Client:
    """What came, taken apart. `pongs` counts answers to our PINGs, behind which nothing is unread."""

    def __init__(self, tls):
        self.tls = tls
        self.said = b""
        self.answered, self.pongs, self.goaway = 0, 0, -1
        self.ended = False

    def send(self, frames):
        try:
            self.tls.sendall(frames)
        except OSError:
            pass  # it ends us while we speak; what it said is read all the same

    def read(self):
        try:
            more = self.tls.recv(65536)
        except OSError:
            more = b""
        self.ended = not more
        self.said += more
        while len(self.said) >= 9:
            end = 9 + int.from_bytes(self.said[:3], "big")
            if end > len(self.said):
                return
            self.take(self.said[3], self.said[4], self.said[9:end])
            self.said = self.said[end:]

    def take(self, kind, flags, payload):
        if kind == HEADERS:
            self.answered += 1
        elif kind == PING and flags & ACK:
            self.pongs += 1
        elif kind == GOAWAY and self.goaway < 0:
            self.goaway = int.from_bytes(payload[4:8], "big")

    def until(self, done):
        while not self.ended and not done():
            self.read()


def main() -> None:
    host, port, ca, cert, key, authority, *rounds = sys.argv[1:]
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False  # SPIFFE: there is no host name to check
    context.load_verify_locations(ca)
    context.load_cert_chain(cert, key)
    context.set_alpn_protocols(["h2"])
    tls = context.wrap_socket(socket.create_connection((host, int(port)), PATIENCE_S))
    client = Client(tls)
    client.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(SETTINGS, 0, 0, b""))
    name = authority.encode()
    block = bytes([0x02, 7]) + b"CONNECT" + bytes([0x01, len(name)]) + name
    batches = int(rounds[0]) if rounds else REQUESTS_MAX // BATCH
    sent = 0
    start = time.monotonic()
    while sent < batches and not client.ended:
        streams = range(2 * sent * BATCH + 1, 2 * (sent + 1) * BATCH, 2)
        asks = [frame(HEADERS, END_HEADERS, stream, block) for stream in streams]
        resets = [frame(RST_STREAM, 0, stream, CANCEL) for stream in streams]
        sent += 1
        if rounds:
            client.send(b"".join(asks))
            client.until(lambda: client.answered == sent * BATCH)
            client.send(b"".join(resets) + frame(PING, 0, 0, bytes(8)))
        else:
            pairs = b"".join(ask + reset for ask, reset in zip(asks, resets))
            client.send(pairs + frame(PING, 0, 0, bytes(8)))
        # No further than one batch ahead: what the server leaves unread may cost us its GOAWAY.
        client.until(lambda: client.pongs == sent)
    report = {"requests": sent * BATCH, "seconds": time.monotonic() - start, "answered": client.answered}
    print(json.dumps({**report, "ended": client.ended, "goaway": client.goaway}), flush=True)
    sys.stdin.read()


main()
