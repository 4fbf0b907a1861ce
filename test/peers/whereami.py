# SPDX-License-Identifier: Apache-2.0
"""Tells whoever connects the address that was reached, as address:port, on the ports given, over IPv4
and IPv6. Prints a line when it listens."""
import asyncio
import sys


async def tell(_reader, writer):
    host, port = writer.get_extra_info("sockname")[:2]
    writer.write(f"[{host}]:{port}".encode() if ":" in host else f"{host}:{port}".encode())
    writer.close()


async def main():
    for port in sys.argv[1:]:
        await asyncio.start_server(tell, ["0.0.0.0", "::"], int(port))
    print("listening", flush=True)
    await asyncio.Event().wait()


asyncio.run(main())
