# SPDX-License-Identifier: Apache-2.0
"""Opens many TCP connections, says nothing on them and holds them.

crowd.py HOST PORT COUNT    prints one JSON line {"open", "refused"} once all were tried, and another
                            when its standard input ends: how many of them still stand then
"""
import errno
import json
import resource
import selectors
import socket
import sys

AT_ONCE = 128


def family_of(host):
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def open_all(host, port, count):
    poll = selectors.DefaultSelector()
    standing, refused, started = [], 0, 0
    while started < count or len(poll.get_map()) > 0:
        while started < count and len(poll.get_map()) < AT_ONCE:
            started += 1
            each = socket.socket(family_of(host), socket.SOCK_STREAM)
            each.setblocking(False)
            if each.connect_ex((host, port)) in (0, errno.EINPROGRESS):
                poll.register(each, selectors.EVENT_WRITE)
            else:
                refused += 1
        for key, _ in poll.select(10):
            poll.unregister(key.fileobj)
            if key.fileobj.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0:
                standing.append(key.fileobj)
            else:
                refused += 1
    return standing, refused


def stands(each):
    try:
        return each.recv(1, socket.MSG_PEEK) != b""
    except BlockingIOError:
        return True
    except OSError:
        return False


def say(**what):
    print(json.dumps(what), flush=True)


def main():
    host, port, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    standing, refused = open_all(host, port, count)
    say(open=len(standing), refused=refused)
    sys.stdin.read()
    say(open=sum(stands(each) for each in standing), refused=refused)


main()
