#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Opens many HBONE tunnels as streams of one connection, to an application that echoes.

On each stream random bytes go in, and what comes back is compared. All are open before the first
byte is sent. Prints one line of JSON: per stream {status, sent, same}, and the error that ended it
all, if one did.
"""

import argparse
import asyncio
import json
import os
import select

import tunnel

CHUNK_BYTES = 64 << 10


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--connect", required=True, metavar="IP:PORT")
    parser.add_argument("--ca", required=True, metavar="FILE")
    parser.add_argument("--cert", required=True, metavar="FILE")
    parser.add_argument("--key", required=True, metavar="FILE")
    parser.add_argument("--authority", required=True, metavar="IP:PORT")
    parser.add_argument("--streams", type=int, required=True)
    parser.add_argument("--bytes", type=int, required=True, help="on each stream")
    parser.add_argument("--until-eof", action="store_true")
    return parser.parse_args()


async def send(stream, data):
    for at in range(0, len(data), CHUNK_BYTES):
        await stream.write(data[at : at + CHUNK_BYTES])
    await stream.end()


async def receive(stream):
    parts = []
    while data := await stream.read():
        parts.append(data)
    return b"".join(parts)


async def exchange(stream, size):
    data = os.urandom(size)
    _, echoed = await asyncio.gather(send(stream, data), receive(stream))
    return echoed == data


def tell(streams, error=None):
    print(json.dumps({"streams": streams, "error": error}), flush=True)


def input_ended():
    return bool(select.select([0], [], [], 0)[0])


async def one_round(connection, arguments):
    request = [(":method", "CONNECT"), (":authority", arguments.authority)]
    streams = [connection.open(request) for _ in range(arguments.streams)]
    statuses = [int(dict(await stream.headers)[":status"]) for stream in streams]
    same = await asyncio.gather(*(exchange(stream, arguments.bytes) for stream in streams))
    tell(
        [
            {"status": status, "sent": arguments.bytes, "same": ok}
            for status, ok in zip(statuses, same)
        ]
    )


async def run(arguments):
    context = tunnel.tls_context(
        server=False, ca=arguments.ca, cert=arguments.cert, key=arguments.key, alpn="h2"
    )
    reader, writer = await asyncio.open_connection(
        *tunnel.split_address(arguments.connect), ssl=context
    )
    connection = tunnel.Connection(reader, writer, client=True)
    reading = asyncio.create_task(connection.run())
    await one_round(connection, arguments)
    while arguments.until_eof and not input_ended():
        await one_round(connection, arguments)
    writer.close()
    await asyncio.wait([reading], timeout=1)


def main():
    try:
        asyncio.run(run(parse_arguments()))
    except (tunnel.TunnelError, OSError) as error:
        tell([], f"{type(error).__name__}: {error}")


if __name__ == "__main__":
    main()
