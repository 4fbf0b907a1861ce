# SPDX-License-Identifier: Apache-2.0
"""Takes every connection to a port, says nothing, and closes those that the other side has ended or
reset. Prints a line when it listens, and for each line of its input {"accepted", "open"}."""
import json
import os
import selectors
import socket
import sys

BACKLOG = 4096

poll = selectors.DefaultSelector()
listener = socket.create_server(("", int(sys.argv[1])), backlog=BACKLOG)
listener.setblocking(False)
poll.register(listener, selectors.EVENT_READ)
poll.register(sys.stdin, selectors.EVENT_READ)
accepted, open_now = 0, 0
print(json.dumps("listening"), flush=True)
while True:
    for key, _ in poll.select():
        if key.fileobj is listener:
            connection, _peer = listener.accept()
            connection.setblocking(False)
            poll.register(connection, selectors.EVENT_READ)
            accepted, open_now = accepted + 1, open_now + 1
        elif key.fileobj is sys.stdin:
            if not os.read(0, 4096):
                os._exit(0)
            print(json.dumps({"accepted": accepted, "open": open_now}), flush=True)
        else:
            try:
                over = not key.fileobj.recv(4096)
            except OSError:
                over = True
            if over:
                poll.unregister(key.fileobj)
                key.fileobj.close()
                open_now -= 1
