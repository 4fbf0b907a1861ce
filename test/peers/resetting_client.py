# SPDX-License-Identifier: Apache-2.0
"""An HBONE client that asks for what is refused and takes each request back at once ("rapid reset"),
while it reads what comes. Frames are written by hand, since a library would pace them.

Prints one line of JSON: how many requests went out, and the error code of the GOAWAY that came."""
import json
import select
import socket
import ssl
import struct
import sys

REQUESTS_MAX = 200_000
BATCH = 200
PATIENCE_S = 10
GOAWAY = 7
CANCEL = struct.pack(">I", 8)


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def goaway_code(said: bytes) -> int:
    """The error code of the first GOAWAY among whole frames, -1 without one."""
    at = 0
    while at + 9 <= len(said):
        length = int.from_bytes(said[at : at + 3], "big")
        if said[at + 3] == GOAWAY and at + 17 <= len(said):
            return int.from_bytes(said[at + 13 : at + 17], "big")
        at += 9 + length
    return -1


def main() -> None:
    host, port, ca, cert, key, authority = sys.argv[1:7]
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False  # SPIFFE: there is no host name to check
    context.load_verify_locations(ca)
    context.load_cert_chain(cert, key)
    context.set_alpn_protocols(["h2"])
    tls = context.wrap_socket(socket.create_connection((host, int(port)), PATIENCE_S))
    tls.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4, 0, 0, b""))
    name = authority.encode()
    block = bytes([0x02, 7]) + b"CONNECT" + bytes([0x01, len(name)]) + name
    said, requests, ended = b"", 0, False
    while requests < REQUESTS_MAX and not ended:
        batch = b""
        for stream in range(2 * requests + 1, 2 * (requests + BATCH) + 1, 2):
            batch += frame(1, 4, stream, block) + frame(3, 0, stream, CANCEL)
        try:
            tls.sendall(batch)
            requests += BATCH
            while not ended and (tls.pending() or select.select([tls], [], [], 0)[0]):
                more = tls.recv(65536)
                said += more
                ended = not more
        except OSError:
            ended = True
    tls.settimeout(PATIENCE_S)
    try:
        while ended and (more := tls.recv(65536)):
            said += more
    except OSError:
        pass  # what came before it counts
    print(json.dumps({"requests": requests, "ended": ended, "goaway": goaway_code(said)}))


main()
