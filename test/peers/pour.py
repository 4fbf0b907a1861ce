# SPDX-License-Identifier: Apache-2.0
"""Sends zeros without end to whoever connects, at the ports given. Prints a line when it listens."""
import selectors
import socket
import sys

SEND_BYTES = 64 << 10
ZEROS = bytes(SEND_BYTES)

poll = selectors.DefaultSelector()
for port in sys.argv[1:]:
    listener = socket.create_server(("::", int(port)), family=socket.AF_INET6, dualstack_ipv6=True, backlog=1024)
    listener.setblocking(False)
    poll.register(listener, selectors.EVENT_READ)
print("{\"msg\": \"listening\"}", flush=True)
while True:
    for key, _ in poll.select():
        if key.events == selectors.EVENT_READ:
            connection, _peer = key.fileobj.accept()
            connection.setblocking(False)
            # As little as may be: what is measured is the proxy, not the kernel.
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BYTES)
            poll.register(connection, selectors.EVENT_WRITE)
            continue
        try:
            key.fileobj.send(ZEROS)
        except BlockingIOError:
            pass
        except OSError:
            poll.unregister(key.fileobj)
            key.fileobj.close()
