# SPDX-License-Identifier: Apache-2.0
"""An HBONE client that opens streams to an application that sends without end, and grants them no
window beyond what they start with. On the same connection it may have streams that are idle, to an
application that says nothing, and one that is read slowly: it is granted a few bytes again and again.
Frames are written by hand, since a library would grant windows by itself.

Prints one line of JSON once all streams are answered, {"answered"}, and one at the end of its input:
  stalled, slow, idle: for each stream of that kind {"bytes", "reset" (a code, or null), "seconds"}
  goaway: the code of the GOAWAY that came, or null; ended: whether the connection did"""
import argparse
import json
import os
import select
import socket
import struct
import sys
import time

import tunnel

PATIENCE_S = 10
DATA, HEADERS, RST_STREAM, SETTINGS, GOAWAY, WINDOW_UPDATE = 0, 1, 3, 4, 7, 8
PING = 6
ACK, END_STREAM, END_HEADERS = 1, 1, 4
INITIAL_WINDOW_SIZE = 4
GRANT_BYTES = 100
GRANT_S = 0.1


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--connect", required=True, metavar="IP:PORT")
    parser.add_argument("--ca", required=True, metavar="FILE")
    parser.add_argument("--cert", required=True, metavar="FILE")
    parser.add_argument("--key", required=True, metavar="FILE")
    parser.add_argument("--authority", required=True, metavar="IP:PORT", help="sends without end")
    parser.add_argument("--window", required=True, type=int, help="that each stream starts with")
    parser.add_argument("--stalled", required=True, type=int, help="streams")
    parser.add_argument("--quiet", metavar="IP:PORT", help="the application that says nothing")
    parser.add_argument("--idle", type=int, default=0, help="streams")
    parser.add_argument("--slow", type=int, default=0, help="streams")
    return parser.parse_args()


def frame(kind, flags, stream, payload):
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def request(stream, authority):
    name = authority.encode()
    block = bytes([0x02, 7]) + b"CONNECT" + bytes([0x01, len(name)]) + name
    return frame(HEADERS, END_HEADERS, stream, block)


class Stream:
    def __init__(self, kind):
        self.kind = kind
        self.answered = False
        self.bytes = 0
        self.reset = None
        self.ended_at = None

    def report(self, began):
        seconds = None if self.ended_at is None else round(self.ended_at - began, 3)
        return {"bytes": self.bytes, "reset": self.reset, "seconds": seconds}


class Client:
    def __init__(self, arguments):
        context = tunnel.tls_context(False, arguments.ca, arguments.cert, arguments.key, "h2")
        address = tunnel.split_address(arguments.connect)
        self.tls = context.wrap_socket(socket.create_connection(address, PATIENCE_S))
        self.said = b""
        self.streams = {}
        self.goaway = None
        self.ended = False
        self.granted_at = 0.0
        kinds = [("stalled", arguments.authority)] * arguments.stalled
        kinds += [("slow", arguments.authority)] * arguments.slow
        kinds += [("idle", arguments.quiet)] * arguments.idle
        settings = struct.pack(">HI", INITIAL_WINDOW_SIZE, arguments.window)
        out = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(SETTINGS, 0, 0, settings)
        for at, (kind, authority) in enumerate(kinds):
            self.streams[2 * at + 1] = Stream(kind)
            out += request(2 * at + 1, authority)
        self.tls.sendall(out)

    def receive(self):
        """What is there now. A slow reader takes all that its windows let come."""
        while not self.ended and (self.tls.pending() or select.select([self.tls], [], [], 0)[0]):
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
            number = int.from_bytes(self.said[5:9], "big")
            self.take(self.said[3], self.said[4], number, self.said[9:end])
            self.said = self.said[end:]

    def take(self, kind, flags, number, payload):
        stream = self.streams.get(number)
        if kind == SETTINGS and not flags & ACK:
            self.tls.sendall(frame(SETTINGS, ACK, 0, b""))
        elif kind == PING and not flags & ACK:
            self.tls.sendall(frame(PING, ACK, 0, payload))
        elif kind == GOAWAY:
            self.goaway = int.from_bytes(payload[4:8], "big")
        elif stream and kind == HEADERS:
            stream.answered = not flags & END_STREAM
        elif stream and kind == DATA:
            stream.bytes += len(payload)
        if stream and (kind == RST_STREAM or (kind in (HEADERS, DATA) and flags & END_STREAM)):
            stream.reset = int.from_bytes(payload, "big") if kind == RST_STREAM else None
            stream.ended_at = time.monotonic()

    def grant(self):
        """A little to each slow stream, and as much to the connection."""
        if time.monotonic() < self.granted_at + GRANT_S:
            return
        self.granted_at = time.monotonic()
        update = struct.pack(">I", GRANT_BYTES)
        for number, stream in self.streams.items():
            if stream.kind == "slow" and stream.ended_at is None and not self.ended:
                self.tls.sendall(frame(WINDOW_UPDATE, 0, 0, update) + frame(WINDOW_UPDATE, 0, number, update))

    def run(self, done):
        while not self.ended and not done():
            select.select([self.tls, sys.stdin], [], [], GRANT_S)
            self.receive()
            self.grant()


def main():
    client = Client(parse_arguments())
    streams = client.streams.values()
    client.run(lambda: all(each.answered or each.ended_at for each in streams))
    began = time.monotonic()
    print(json.dumps({"answered": sum(each.answered for each in streams)}), flush=True)
    client.run(lambda: select.select([sys.stdin], [], [], 0)[0])
    kinds = {
        kind: [each.report(began) for each in streams if each.kind == kind]
        for kind in ("stalled", "slow", "idle")
    }
    print(json.dumps({**kinds, "goaway": client.goaway, "ended": client.ended}), flush=True)
    os._exit(0)  # no farewell


main()
