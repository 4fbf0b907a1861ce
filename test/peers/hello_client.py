# SPDX-License-Identifier: Apache-2.0
"""Says hello by TLS 1.3 with whatever key shares it is told, many at a time, and computes nothing.

Its standard input is one line of JSON: rounds, each a list of [group, share in hexadecimal]. The
connections of a round are all open before the first byte is sent, and their hellos leave one right
after the other. Prints for each round a line of JSON: "hello", "retry" or an alert's number for each
connection, or the name of an error."""
import argparse
import errno
import json
import os
import socket
import struct
import sys

PATIENCE_S = 10
RECORD_HEADER_BYTES = 5
HANDSHAKE, ALERT = 22, 21
SERVER_HELLO = 2
# RFC 8446 section 4.1.3: the random of a ServerHello that is a HelloRetryRequest.
RETRY = bytes.fromhex("cf21ad74e59a6111be1d8c021e65b891c2a211167abb8c5e079e09e2c8a8339c")
AES_128_GCM_SHA256 = b"\x13\x01"
ECDSA_P256_SHA256 = b"\x04\x03"


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--connect", required=True, metavar="IP:PORT")
    return parser.parse_args()


def prefixed(size, data):
    """`data` behind its length in so many bytes."""
    return len(data).to_bytes(size, "big") + data


def extension(kind, data):
    return struct.pack(">H", kind) + prefixed(2, data)


def client_hello(group, share):
    """RFC 8446 section 4.1.2, in one record."""
    name = struct.pack(">H", group)
    extensions = (
        extension(43, prefixed(1, b"\x03\x04"))
        + extension(10, prefixed(2, name))
        + extension(13, prefixed(2, ECDSA_P256_SHA256))
        + extension(16, prefixed(2, prefixed(1, b"h2")))
        + extension(51, prefixed(2, name + prefixed(2, share)))
    )
    body = (
        b"\x03\x03"
        + os.urandom(32)
        + prefixed(1, os.urandom(32))
        + prefixed(2, AES_128_GCM_SHA256)
        + prefixed(1, b"\x00")
        + prefixed(2, extensions)
    )
    return b"\x16\x03\x01" + prefixed(2, b"\x01" + prefixed(3, body))


def receive(stream, size):
    data = stream.recv(size, socket.MSG_WAITALL)
    if len(data) < size:
        raise ConnectionAbortedError(errno.ECONNABORTED, "the peer closed")
    return data


def answer_of(stream):
    """What the first record that comes says."""
    kind, _, size = struct.unpack(">BHH", receive(stream, RECORD_HEADER_BYTES))
    content = receive(stream, size)
    if kind == ALERT:
        return content[1]
    if kind != HANDSHAKE or content[0] != SERVER_HELLO:
        return f"a record of type {kind}"
    return "retry" if content[6:38] == RETRY else "hello"


def attempt(stream, step):
    try:
        return step(stream)
    except OSError as error:
        return errno.errorcode.get(error.errno, type(error).__name__)


def one_round(address, hellos):
    streams = [socket.create_connection(address, PATIENCE_S) for _ in hellos]
    messages = [client_hello(group, bytes.fromhex(share)) for group, share in hellos]
    for stream, message in zip(streams, messages):
        stream.sendall(message)
    answers = [attempt(stream, answer_of) for stream in streams]
    for stream in streams:
        stream.close()
    return answers


def main():
    host, port = parse_arguments().connect.rsplit(":", 1)
    for hellos in json.loads(sys.stdin.readline()):
        print(json.dumps(one_round((host, int(port)), hellos)), flush=True)


main()
