# SPDX-License-Identifier: Apache-2.0
"""Stands in for node proxy, application and client while capture rules are tested.

capture_peer.py proxy            listens on 15001, 15006 and 15008 and forwards in plaintext
capture_peer.py app PORT [MARK]  answers one HTTP response with the peer's address
capture_peer.py get HOST PORT [MARK SOURCE [SOURCE_PORT]]   prints what an app answers
capture_peer.py leave HOST       opens a tunnel, as a proxy does, and is the first to close it

Each server prints one JSON line when it listens; the proxy prints one per connection.
"""
import json
import socket
import struct
import sys
import threading

SO_MARK = 36
IP_TRANSPARENT = 19
IPV6_TRANSPARENT = 75
SO_ORIGINAL_DST = 80
PROXY_MARK = 0x539


def say(**fields):
    print(json.dumps(fields), flush=True)


def plain(address):
    return address[len("::ffff:"):] if address.startswith("::ffff:") else address


def original(conn):
    if plain(conn.getsockname()[0]).count(".") == 3:
        raw = conn.getsockopt(socket.SOL_IP, SO_ORIGINAL_DST, 16)
        return socket.inet_ntop(socket.AF_INET, raw[4:8]), struct.unpack(">H", raw[2:4])[0]
    raw = conn.getsockopt(socket.IPPROTO_IPV6, SO_ORIGINAL_DST, 28)
    return socket.inet_ntop(socket.AF_INET6, raw[8:24]), struct.unpack(">H", raw[2:4])[0]


def connect(host, port, source=None, mark=PROXY_MARK, source_port=0):
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    conn = socket.socket(family, socket.SOCK_STREAM)
    conn.settimeout(5)
    if mark:
        conn.setsockopt(socket.SOL_SOCKET, SO_MARK, mark)
    if source and (mark != PROXY_MARK or source_port):
        conn.bind((source, source_port))
    elif source:
        if family == socket.AF_INET:
            conn.setsockopt(socket.SOL_IP, IP_TRANSPARENT, 1)
        else:
            conn.setsockopt(socket.IPPROTO_IPV6, IPV6_TRANSPARENT, 1)
        conn.bind((source, 0))
    conn.connect((host, port))
    return conn


def copy(source, target):
    try:
        while data := source.recv(65536):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        pass


def pipe(one, other):
    back = threading.Thread(target=copy, args=(other, one), daemon=True)
    back.start()
    copy(one, other)
    back.join()
    one.close()
    other.close()


def line(conn):
    text = b""
    while not text.endswith(b"\n"):
        text += conn.recv(1)
    return text.decode().split()


def serve_proxied(conn, port):
    peer = plain(conn.getpeername()[0])
    try:
        if port == 15008:
            host, target = line(conn)
            if host == "leave":
                # Its end is answered at once, so that ours finds it in TIME_WAIT.
                conn.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
                while conn.recv(65536):
                    conn.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
                conn.close()
                say(port=port, peer=peer, left=True)
                return
            say(port=port, peer=peer, target=host)
            pipe(conn, connect(plain(conn.getsockname()[0]), int(target), source=peer))
            return
        host, target = original(conn)
        say(port=port, peer=peer, target=host, targetPort=target)
        if port == 15006:
            pipe(conn, connect(host, target, source=peer))
            return
        out = connect(host, 15008)
        out.sendall(f"{host} {target}\n".encode())
        pipe(conn, out)
    except OSError as error:
        say(port=port, peer=peer, error=str(error))
        conn.close()


def serve_app(conn, _port):
    conn.recv(65536)
    body = plain(conn.getpeername()[0]).encode()
    conn.sendall(b"HTTP/1.0 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body))
    conn.close()


def listen(port, serve, mark):
    sock = socket.socket(socket.AF_INET6, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    if mark:
        sock.setsockopt(socket.SOL_SOCKET, SO_MARK, mark)
    sock.bind(("::", port))
    sock.listen()

    def accept():
        while True:
            conn, _ = sock.accept()
            threading.Thread(target=serve, args=(conn, port), daemon=True).start()

    threading.Thread(target=accept).start()


def main(verb, args):
    if verb == "proxy":
        for port in (15001, 15006, 15008):
            listen(port, serve_proxied, PROXY_MARK)
        say(ready=True)
    elif verb == "app":
        listen(int(args[0]), serve_app, int(args[1], 0) if len(args) > 1 else 0)
        say(ready=True)
    elif verb == "leave":
        conn = connect(args[0], 15008)
        say(sourcePort=conn.getsockname()[1])
        conn.sendall(b"leave 0\n")
    else:
        mark, source = (int(args[2], 0), args[3]) if len(args) > 2 else (0, None)
        source_port = int(args[4]) if len(args) > 4 else 0
        conn = connect(args[0], int(args[1]), source, mark, source_port)
        conn.sendall(b"GET / HTTP/1.0\r\n\r\n")
        answer = b""
        while data := conn.recv(65536):
            answer += data
        print(answer.split(b"\r\n\r\n", 1)[1].decode())


main(sys.argv[1], sys.argv[2:])
