# SPDX-License-Identifier: Apache-2.0
"""An HBONE client that abuses HTTP/2 on one connection after another: a burst of PING or SETTINGS, a
header block in endless CONTINUATION, or a header list beyond all bounds. Frames are written by hand,
since a library would not make them.

Prints a line of JSON for each connection: the error code of the GOAWAY that came (-1 without one), how
many frames the server answered, and whether the connection ended."""
import argparse
import json
import socket
import struct

import tunnel

PATIENCE_S = 10
# Some budgets' worth. What stands behind the frame that is too many is less than the 64 KiB which the
# server reads on, or its GOAWAY might be lost; so is it for the fields.
BURST = 3000
HEADERS, SETTINGS, PING, GOAWAY, CONTINUATION = 1, 4, 6, 7, 9
ACK, END_HEADERS = 1, 4
FRAME_BYTES = 16 << 10
FIELD_BYTES = 1 << 10
BLOCK_BYTES = 96 << 10


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--connect", required=True, metavar="IP:PORT")
    parser.add_argument("--ca", required=True, metavar="FILE")
    parser.add_argument("--cert", required=True, metavar="FILE")
    parser.add_argument("--key", required=True, metavar="FILE")
    parser.add_argument("--kind", required=True, choices=sorted(BURSTS))
    parser.add_argument("--times", type=int, required=True)
    return parser.parse_args()


def frame(kind, flags, stream, payload):
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def header_list():
    """A request with fields of 1 KiB, none of which is put into the table (RFC 7541 section 6.2.2)."""
    value = b"v" * FIELD_BYTES
    # Its length is an integer with a prefix of 7 bits (section 5.1).
    field = bytes([0, 1]) + b"x" + bytes([127, (FIELD_BYTES - 127) & 127 | 128, (FIELD_BYTES - 127) >> 7])
    return bytes([0x02, 7]) + b"CONNECT" + (field + value) * (BLOCK_BYTES // FIELD_BYTES)


def in_pieces(block, size):
    """One header block as HEADERS and what CONTINUATION it takes."""
    pieces = [block[at : at + size] for at in range(0, len(block), size)]
    frames = b""
    for at, piece in enumerate(pieces):
        flags = END_HEADERS if at + 1 == len(pieces) else 0
        frames += frame(CONTINUATION if at else HEADERS, flags, 1, piece)
    return frames


BURSTS = {
    "ping": lambda: frame(PING, 0, 0, bytes(8)) * BURST,
    "settings": lambda: frame(SETTINGS, 0, 0, b"") * BURST,
    "continuation": lambda: frame(HEADERS, 0, 1, b"") + frame(CONTINUATION, 0, 1, b"") * BURST,
    "headers": lambda: in_pieces(header_list(), FRAME_BYTES),
}


def frames_of(said):
    """(type, flags, payload) of each whole frame."""
    at = 0
    while at + 9 <= len(said):
        end = at + 9 + int.from_bytes(said[at : at + 3], "big")
        if end <= len(said):
            yield said[at + 3], said[at + 4], said[at + 9 : end]
        at = end


def flood(arguments):
    context = tunnel.tls_context(False, arguments.ca, arguments.cert, arguments.key, "h2")
    address = tunnel.split_address(arguments.connect)
    tls = context.wrap_socket(socket.create_connection(address, PATIENCE_S))
    said, ended = b"", False
    try:
        tls.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(SETTINGS, 0, 0, b""))
        tls.sendall(BURSTS[arguments.kind]())
    except OSError:
        pass  # it ends us while we speak; what it said is read all the same
    try:
        while more := tls.recv(65536):
            said += more
        ended = True
    except TimeoutError:
        pass
    except OSError:
        ended = True
    frames = list(frames_of(said))
    codes = [int.from_bytes(payload[4:8], "big") for kind, _, payload in frames if kind == GOAWAY]
    acks = sum(flags & ACK for kind, flags, _ in frames if kind in (PING, SETTINGS))
    print(json.dumps({"goaway": codes[0] if codes else -1, "acks": acks, "ended": ended}), flush=True)


def main():
    arguments = parse_arguments()
    for _ in range(arguments.times):
        flood(arguments)


main()
