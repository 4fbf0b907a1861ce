# SPDX-License-Identifier: Apache-2.0
"""An HBONE client that asks without end and never reads: every request is refused, and each refusal
is more for the server to hold. Frames are written by hand, since a library would have to read.

Prints one line of JSON: how many requests went out, and how the server ended it."""
import json
import socket
import ssl
import struct
import sys

REQUESTS_MAX = 4_000_000
BATCH = 200
RECEIVE_BYTES = 4096


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def literal(name_index: int, value: bytes) -> bytes:
    """An HPACK literal that is added to the table (RFC 7541 section 6.2.1)."""
    return bytes([0x40 | name_index, len(value)]) + value


def main() -> None:
    host, port, ca, cert, key, authority = sys.argv[1:7]
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False  # SPIFFE: there is no host name to check
    context.load_verify_locations(ca)
    context.load_cert_chain(cert, key)
    context.set_alpn_protocols(["h2"])
    plain = socket.socket()
    plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BYTES)
    plain.connect((host, int(port)))
    plain.settimeout(20)
    tls = context.wrap_socket(plain)
    tls.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4, 0, 0, b""))
    first = literal(2, b"CONNECT") + literal(1, authority.encode())
    again = bytes([0x80 | 63, 0x80 | 62])  # the two fields, from the table
    stream, ended = 1, "not"
    while stream < 2 * REQUESTS_MAX and ended == "not":
        batch = b""
        for _ in range(BATCH):
            batch += frame(1, 5, stream, first if stream == 1 else again)
            stream += 2
        try:
            tls.sendall(batch)
        except OSError as error:
            ended = type(error).__name__
    print(json.dumps({"requests": stream // 2, "ended": ended}))


main()
