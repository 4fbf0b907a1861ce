# SPDX-License-Identifier: Apache-2.0
"""Root in a pod that wants the proxy's ports, its mark, or a way round capture.

port_thief.py bind ADDRESS...         tries to get each of the proxy's ports, at the wildcards and at
                                      each address, with every option that shares a port; prints what
                                      each try came to
port_thief.py early HOST PORT SOURCE  binds 15001 and 15008 at SOURCE and prints a line; when a line
                                      comes in, tries to listen on them, connects from them, and
                                      prints what came of either
port_thief.py marked HOST PORT MARK   connects with the mark set, asks, and prints what came

Each line that is printed is one JSON value."""
import errno
import json
import socket
import sys

PORTS = (15001, 15006, 15008)
WILDCARDS = ("0.0.0.0", "::")
SO_MARK = 36
SHARING = {
    "plain": (),
    "SO_REUSEADDR": (socket.SO_REUSEADDR,),
    "SO_REUSEPORT": (socket.SO_REUSEPORT,),
    "both": (socket.SO_REUSEADDR, socket.SO_REUSEPORT),
}


def say(value):
    print(json.dumps(value), flush=True)


def tcp(address, options=()):
    made = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
    made.settimeout(10)
    for option in options:
        made.setsockopt(socket.SOL_SOCKET, option, 1)
    return made


def outcome_of(step):
    try:
        return step() or "done"
    except OSError as error:
        return errno.errorcode.get(error.errno, str(error))


def take(address, port, options):
    with tcp(address, options) as thief:
        thief.bind((address, port))
        thief.listen()


def bind_all(addresses):
    tries = [
        {"port": port, "address": address, "options": name,
         "outcome": outcome_of(lambda: take(address, port, options))}
        for port in PORTS
        for address in (*WILDCARDS, *addresses)
        for name, options in SHARING.items()
    ]
    say(tries)


def ask(connection, host, port):
    """One request; the answer's first line, and the address that it was asked from."""
    connection.connect((host, port))
    connection.sendall(b"GET /thief HTTP/1.1\r\nHost: web\r\nConnection: close\r\n\r\n")
    answer = b""
    while data := connection.recv(65536):
        answer += data
    return answer.split(b"\r\n")[0].decode()


def early(host, port, source):
    held = []
    for number in (15001, 15008):
        held.append(tcp(source, SHARING["both"]))
        held[-1].bind((source, number))
    say([each.getsockname()[1] for each in held])
    sys.stdin.readline()
    say([
        {"port": each.getsockname()[1], "listened": outcome_of(each.listen),
         "asked": outcome_of(lambda: ask(each, host, port))}
        for each in held
    ])


def marked(host, port, mark):
    with tcp(host) as connection:
        connection.setsockopt(socket.SOL_SOCKET, SO_MARK, mark)
        answer = outcome_of(lambda: ask(connection, host, port))
        say({"asked": answer, "from": connection.getsockname()[1]})


def main():
    verb, *rest = sys.argv[1:]
    if verb == "bind":
        bind_all(rest)
    elif verb == "early":
        early(rest[0], int(rest[1]), rest[2])
    else:
        marked(rest[0], int(rest[1]), int(rest[2], 0))


main()
