# SPDX-License-Identifier: Apache-2.0
"""A client that TLS must refuse, for garbage or for its certificate, and that goes on sending behind
what is refused: 32 KiB, or as fast as it can without end, or a byte now and then without end.

Prints one line of JSON: the alert that came, how many bytes went out behind what is refused, how it
ended ("end", or the name of an error), and how long that took from the alert on."""
import argparse
import errno
import json
import select
import socket
import ssl
import time

PATIENCE_S = 10
PIECE = bytes(4096)
PIECES = 8
ENDLESS_BYTES_MAX = 256 << 20
TRICKLE_S = 0.05
GARBAGE = b"\xff" * 100


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--connect", required=True, metavar="IP:PORT")
    parser.add_argument("--ca", required=True, metavar="FILE")
    parser.add_argument("--cert", metavar="FILE", help="without one it sends garbage")
    parser.add_argument("--key", metavar="FILE")
    parser.add_argument("--then", required=True, choices=["some", "flood", "trickle"])
    return parser.parse_args()


def tls_over(plain, arguments):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False  # SPIFFE: there is no host name to check
    context.load_verify_locations(arguments.ca)
    context.load_cert_chain(arguments.cert, arguments.key)
    context.set_alpn_protocols(["h2"])
    return context.wrap_socket(plain)


def error_name(error):
    # OpenSSL has numbers of its own.
    if isinstance(error, ssl.SSLError):
        return type(error).__name__
    return errno.errorcode.get(error.errno, type(error).__name__)


def wait_for_alert(stream):
    """Its bytes stay unread, so that a reset would take them."""
    if not select.select([stream], [], [], PATIENCE_S)[0]:
        raise TimeoutError("no alert came")


def go_on(stream, how, report):
    """Sends behind what is refused. The alert is there before the last piece leaves."""
    bound = PIECES * len(PIECE) if how == "some" else ENDLESS_BYTES_MAX
    piece = PIECE if how != "trickle" else b"x"
    while report["sent"] < bound:
        stream.sendall(piece)
        report["sent"] += len(piece)
        if report["sent"] == len(piece):
            wait_for_alert(stream)
            report["alerted"] = time.monotonic()
        elif how == "trickle":
            select.select([], [], [], TRICKLE_S)


def read_alert(stream):
    """What TLS says it is, or the bytes of whoever never spoke it."""
    if not isinstance(stream, ssl.SSLSocket):
        return stream.recv(7, socket.MSG_WAITALL).hex()
    try:
        return f"no alert, but {len(stream.recv(1))} bytes"
    except ssl.SSLError as error:
        return error.reason


def main():
    arguments = parse_arguments()
    host, port = arguments.connect.rsplit(":", 1)
    report = {"alert": None, "sent": 0, "ended": "not", "alerted": time.monotonic()}
    stream = socket.create_connection((host, int(port)), PATIENCE_S)
    stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if arguments.cert:
        stream = tls_over(stream, arguments)
    else:
        stream.sendall(GARBAGE)
    try:
        go_on(stream, arguments.then, report)
        report["alert"] = read_alert(stream)
        if isinstance(stream, ssl.SSLSocket):
            stream = socket.socket(fileno=stream.detach())
            stream.settimeout(PATIENCE_S)
        report["ended"] = "end" if stream.recv(1) == b"" else "more bytes"
    except OSError as error:
        report["ended"] = error_name(error)
    report["seconds"] = time.monotonic() - report.pop("alerted")
    print(json.dumps(report))


main()
