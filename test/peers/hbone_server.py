#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Serves HBONE tunnels: mutual TLS 1.3, HTTP/2, one CONNECT per stream.

Each tunnel is echoed, forwarded by TCP to the authority it asks for, or refused. Lines of JSON on standard
output tell what happens; `event` is listening, request, malformed, answered, settled, end or draining. SIGTERM drains:
GOAWAY goes out, the tunnels that are open go on, and the process ends with the last connection.
"""

import argparse
import asyncio
import json
import os
import signal

import tunnel

PROTOCOL_ERROR = 0x1
REFUSED_STREAM = 0x7
CANCEL = 0x8
CONNECT_ERROR = 0xA


def exit_at_end_of_input():
    """For a test that may be killed: its end of the pipe then closes, and nothing is left behind."""
    if not os.read(0, 4096):
        os._exit(0)


def log(event, **fields):
    print(json.dumps({"event": event, **fields}), flush=True)


CONNECTION_FIELDS = {"connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade"}


def what_is_malformed(headers):
    """The first rule of RFC 9113 sections 8.2, 8.3 and 8.5 that a request breaks, or None."""
    names = [name for name, _ in headers]
    pseudo = [name for name in names if name.startswith(":")]
    wanted = {":method", ":authority"}
    if dict(headers).get(":method") != "CONNECT":
        wanted = {":method", ":scheme", ":path"} | ({":authority"} & set(pseudo))
    if len(pseudo) != len(set(pseudo)) or set(pseudo) != wanted:
        return f"pseudo fields {pseudo}"
    if names[: len(pseudo)] != pseudo:
        return "a pseudo field after others"
    for name, value in headers:
        if name != name.lower():
            return f"upper case in {name}"
        if name in CONNECTION_FIELDS or (name == "te" and value != "trailers"):
            return f"connection field {name}"
        if value != value.strip() or any(character in value for character in "\r\n\0"):
            return f"white space in {name}"
    return None


class Echo:
    """An application that sends back what it gets."""

    def __init__(self):
        self.pending = asyncio.Queue(1)

    async def read(self):
        return await self.pending.get()

    async def write(self, data):
        await self.pending.put(data)

    async def end(self):
        await self.pending.put(b"")

    def abort(self):
        pass


class Forward:
    """An application reached by TCP."""

    def __init__(self, reader, writer):
        self.reader = reader
        self.writer = writer

    async def read(self):
        return await self.reader.read(tunnel.READ_BYTES)

    async def write(self, data):
        self.writer.write(data)
        await self.writer.drain()

    async def end(self):
        self.writer.write_eof()

    def abort(self):
        self.writer.transport.abort()


async def copy(source, target):
    """Bytes of one direction, and its end. How many there were."""
    count = 0
    while data := await source.read():
        count += len(data)
        await target.write(data)
    await target.end()
    return count


async def open_application(arguments, authority):
    if arguments.echo:
        return Echo()
    return Forward(*await asyncio.open_connection(*tunnel.split_address(authority)))


async def carry(stream, application):
    """Both directions, until both have ended or one has failed."""
    inward = asyncio.create_task(copy(stream, application))
    outward = asyncio.create_task(copy(application, stream))
    done, pending = await asyncio.wait([inward, outward], return_when=asyncio.FIRST_EXCEPTION)
    for task in pending:
        task.cancel()
    errors = [task.exception() for task in done if task.exception()]
    if errors:
        application.abort()
        await stream.reset(CONNECT_ERROR if isinstance(errors[0], OSError) else CANCEL)
        return {"received": None, "sent": None, "error": str(errors[0])}
    return {"received": inward.result(), "sent": outward.result(), "error": None}


async def answer(stream, status, end_stream, fields=()):
    stream.connection.http.send_headers(
        stream.number, [(":status", str(status)), *fields], end_stream=end_stream
    )
    await stream.connection.drain()


async def refuse(stream, arguments):
    """Says that nothing was done for the stream, once a part of it came."""
    count = 0
    while count < arguments.refuse_after:
        count += len(await stream.read())
    if arguments.refuse_by_goaway:
        stream.connection.go_away(max(stream.number - 2, 0))
    else:
        await stream.reset(REFUSED_STREAM)


async def serve_stream(stream, headers, arguments):
    fields = dict(headers)
    authority = fields.get(":authority", "")
    if arguments.silent:
        return
    if fields.get(":method") != "CONNECT":
        await answer(stream, 405, end_stream=True)
        return
    if arguments.refuse > 0:
        arguments.refuse -= 1
        await refuse(stream, arguments)
        return
    if arguments.answer is not None:
        await answer(stream, arguments.answer, end_stream=True)
        return
    try:
        application = await open_application(arguments, authority)
    except (OSError, ValueError) as error:
        await answer(stream, 503, end_stream=True)
        log("end", authority=authority, error=str(error))
        return
    granted = [tuple(field.split("=", 1)) for field in arguments.header]
    await answer(stream, 200, end_stream=False, fields=granted)
    if arguments.tell_settled:
        log("answered")
    log("end", authority=authority, **await carry(stream, application))


async def serve_connection(reader, writer, arguments, connections):
    tls = writer.get_extra_info("ssl_object")
    uris = tunnel.peer_uris(tls)
    tasks = set()

    def on_request(stream, headers):
        fields = [(name, value) for name, value in headers if not name.startswith(":")]
        pseudo = dict(headers)
        log(
            "request",
            method=pseudo.get(":method"),
            authority=pseudo.get(":authority"),
            headers=dict(fields),
            client_uris=uris,
            client_address=writer.get_extra_info("peername")[0],
            stream=stream.number,
        )
        rule = what_is_malformed(headers)
        if rule is None:
            task = asyncio.create_task(serve_stream(stream, headers, arguments))
        else:
            log("malformed", rule=rule)
            task = asyncio.create_task(stream.reset(PROTOCOL_ERROR))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    def on_settled(alone):
        log("settled", alone=alone)

    connection = tunnel.Connection(
        reader,
        writer,
        client=False,
        on_request=on_request,
        on_settled=on_settled if arguments.tell_settled else None,
        late=arguments.late,
        stream_window=arguments.window,
    )
    connections.add(connection)
    await connection.run()
    if tasks:
        await asyncio.wait(tasks)
    connections.remove(connection)


async def serve(arguments):
    context = tunnel.tls_context(
        server=True, ca=arguments.ca, cert=arguments.cert, key=arguments.key, alpn="h2"
    )
    host, port = tunnel.split_address(arguments.listen)
    connections = set()
    serving = set()

    async def accept(reader, writer):
        serving.add(asyncio.current_task())
        await serve_connection(reader, writer, arguments, connections)

    server = await asyncio.start_server(accept, host, port, ssl=context)
    draining = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, draining.set)
    if arguments.until_eof:
        loop.add_reader(0, exit_at_end_of_input)
    log("listening", port=server.sockets[0].getsockname()[1])
    await draining.wait()
    server.close()
    for connection in connections:
        connection.go_away()
    log("draining")
    if serving:
        await asyncio.wait(serving)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--listen", required=True, metavar="IP:PORT", help="port 0 is any")
    parser.add_argument("--cert", required=True, metavar="FILE", help="chain, leaf first")
    parser.add_argument("--key", required=True, metavar="FILE")
    parser.add_argument("--ca", required=True, metavar="FILE", help="roots to check clients by")
    parser.add_argument("--until-eof", action="store_true", help="end when standard input ends")
    parser.add_argument("--refuse", type=int, default=0, metavar="N", help="first reset N streams")
    parser.add_argument("--refuse-after", type=int, default=1, metavar="BYTES", help="of payload")
    parser.add_argument("--refuse-by-goaway", action="store_true", help="that leaves them out")
    parser.add_argument(
        "--window", type=int, default=tunnel.STREAM_WINDOW_BYTES, metavar="BYTES", help="of a stream"
    )
    parser.add_argument(
        "--header", action="append", default=[], metavar="NAME=VALUE", help="of each 200"
    )
    parser.add_argument(
        "--tell-settled", action="store_true", help="when a client acknowledges SETTINGS"
    )
    parser.add_argument("--late", action="store_true", help="SETTINGS go with the first answer")
    mode = parser.add_mutually_exclusive_group(required=True)
    mode.add_argument("--echo", action="store_true", help="send back what comes")
    mode.add_argument("--forward", action="store_true", help="connect to the authority")
    mode.add_argument("--answer", type=int, metavar="STATUS", help="refuse every request with it")
    mode.add_argument("--silent", action="store_true", help="take every request, answer none")
    try:
        asyncio.run(serve(parser.parse_args()))
    except KeyboardInterrupt:
        pass


if __name__ == "__main__":
    main()
