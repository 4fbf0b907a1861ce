# SPDX-License-Identifier: Apache-2.0
"""Sends every byte back, on the ports given, over IPv4 and IPv6. Prints a line when it listens."""
import asyncio
import sys


async def echo(reader, writer):
    try:
        while data := await reader.read(4096):
            writer.write(data)
            await writer.drain()
    except OSError:
        pass
    writer.close()


async def main():
    for port in sys.argv[1:]:
        await asyncio.start_server(echo, ["0.0.0.0", "::"], int(port))
    print("listening", flush=True)
    await asyncio.Event().wait()


asyncio.run(main())
