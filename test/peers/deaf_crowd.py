# SPDX-License-Identifier: Apache-2.0
"""HBONE tunnels whose client has a certificate, asks, and never reads. Frames are written by hand,
since a library would have to read.

deaf_crowd.py pour HOST PORT CREDENTIAL AUTHORITY TUNNELS STREAMS
    opens the streams with the largest windows there are, for a server that pours without end
deaf_crowd.py ask HOST PORT CREDENTIAL AUTHORITY TUNNELS
    asks without end for what is refused, in all tunnels by turns, until each has been ended

CREDENTIAL is a file that a node keeps of a workload. Prints one JSON line {"open", "refused"} once
all is open (pour) or over (ask), and another when standard input ends: how many still stand."""
import base64
import json
import os
import selectors
import socket
import ssl
import struct
import sys
import tempfile

RECEIVE_BYTES = 4096
WINDOW_MAX = 2**31 - 1
WINDOW_FIRST = 65535
REQUESTS_AT_ONCE = 200
PATIENCE_S = 20
CONNECT = bytes([0x40 | 2, 7]) + b"CONNECT"  # literals that are added to the table
AGAIN = bytes([0x80 | 63, 0x80 | 62])  # the two fields, from the table


def frame(kind, flags, stream, payload):
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def pem(label, der):
    body = base64.encodebytes(base64.b64decode(der)).decode()
    return f"-----BEGIN {label}-----\n{body}-----END {label}-----\n"


def context_of(path):
    with open(path, encoding="utf-8") as file:
        saved = json.load(file)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False  # SPIFFE: there is no host name to check
    context.load_verify_locations(cadata="".join(pem("CERTIFICATE", each) for each in saved["roots"]))
    context.set_alpn_protocols(["h2"])
    with tempfile.NamedTemporaryFile("w", dir="/dev/shm") as both:
        both.write(pem("PRIVATE KEY", saved["key"]))
        both.write("".join(pem("CERTIFICATE", each) for each in saved["chain"]))
        both.flush()
        context.load_cert_chain(both.name)
    return context


def tunnel(context, host, port):
    plain = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BYTES)
    plain.settimeout(PATIENCE_S)
    plain.connect((host, port))
    tls = context.wrap_socket(plain)
    settings = struct.pack(">HI", 4, WINDOW_MAX)  # SETTINGS_INITIAL_WINDOW_SIZE
    grant = struct.pack(">I", WINDOW_MAX - WINDOW_FIRST)
    tls.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4, 0, 0, settings) + frame(8, 0, 0, grant))
    return tls


def requests(first, count, name, flags):
    full = CONNECT + bytes([0x40 | 1, len(name)]) + name
    return b"".join(
        frame(1, flags, stream, full if stream == 1 else AGAIN)
        for stream in range(first, first + 2 * count, 2)
    )


def pour(tunnels, name, streams):
    for each in tunnels:
        each.sendall(requests(1, streams, name, 4))
    return tunnels


def ask(tunnels, name):
    """Without waiting for any of them: one that takes nothing is left out until it does."""
    poll = selectors.DefaultSelector()
    for each in tunnels:
        each.setblocking(False)
        poll.register(each, selectors.EVENT_WRITE, {"stream": 1, "left": b""})
    while poll.get_map():
        ready = poll.select(PATIENCE_S)
        if not ready:
            break  # they stand and take nothing: no end came
        for key, _ in ready:
            state = key.data
            if not state["left"]:
                state["left"] = requests(state["stream"], REQUESTS_AT_ONCE, name, 5)
                state["stream"] += 2 * REQUESTS_AT_ONCE
            try:
                state["left"] = state["left"][key.fileobj.send(state["left"]):]
            except ssl.SSLWantWriteError:
                pass
            except OSError:
                poll.unregister(key.fileobj)
                key.fileobj.close()
    return [key.fileobj for key in poll.get_map().values()]


def stands(each):
    """By the kernel alone, so that nothing is read."""
    state = each.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0]
    return state == 1  # TCP_ESTABLISHED


def say(standing, count):
    print(json.dumps({"open": len(standing), "refused": count - len(standing)}), flush=True)


def main():
    verb, host, port, credential, authority, count, *streams = sys.argv[1:]
    context = context_of(credential)
    name = authority.encode()
    tunnels = [tunnel(context, host, int(port)) for _ in range(int(count))]
    standing = pour(tunnels, name, int(streams[0])) if verb == "pour" else ask(tunnels, name)
    say(standing, len(tunnels))
    sys.stdin.read()
    say([each for each in standing if stands(each)], len(tunnels))
    os._exit(0)  # no farewell, which would have to be read


main()
