#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Opens one HBONE tunnel: standard input goes in as DATA, DATA comes out on standard output.

The end of the input is END_STREAM. One line of JSON on standard error tells how it went. Exits
with 0 when the tunnel was granted and both sides ended it in order, with 1 otherwise.
"""

import argparse
import asyncio
import json
import os
import sys

import h2.exceptions

import tunnel

CHUNK_BYTES = 256 << 10


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--connect", required=True, metavar="IP:PORT", help="where the TLS server is")
    parser.add_argument("--ca", required=True, metavar="FILE", help="roots to check the server by")
    parser.add_argument("--cert", metavar="FILE", help="client chain, leaf first")
    parser.add_argument("--key", metavar="FILE", help="client key")
    parser.add_argument("--no-cert", action="store_true", help="prove no identity")
    parser.add_argument("--authority", required=True, metavar="IP:PORT", help="what to ask for")
    parser.add_argument("--header", action="append", default=[], metavar="NAME=VALUE")
    parser.add_argument("--method", default="CONNECT")
    parser.add_argument("--bind", metavar="IP", help="source address")
    parser.add_argument("--alpn", default="h2", choices=["h2", "http/1.1", "none"])
    parser.add_argument("--send", default="-", metavar="FILE", help="input; - is standard input")
    parser.add_argument("--rst", type=int, metavar="CODE", help="RST_STREAM after the input")
    parser.add_argument("--timeout", type=float, default=60, metavar="SECONDS", help="for it all")
    return parser.parse_args()


def request_headers(arguments):
    headers = [(":method", arguments.method), (":authority", arguments.authority)]
    if arguments.method != "CONNECT":
        headers += [(":scheme", "https"), (":path", "/")]
    return headers + [tuple(header.split("=", 1)) for header in arguments.header]


async def in_thread(call, *arguments):
    return await asyncio.get_running_loop().run_in_executor(None, call, *arguments)


def write_all(data):
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(1, rest) :]


async def send_input(stream, arguments, report):
    source = 0 if arguments.send == "-" else os.open(arguments.send, os.O_RDONLY)
    while data := await in_thread(os.read, source, CHUNK_BYTES):
        await stream.write(data)
        report["sent"] += len(data)
    if arguments.rst is None:
        await stream.end()
    else:
        await stream.reset(arguments.rst)
        stream.fail(f"reset {arguments.rst} by this side")


async def receive_output(stream, report):
    while data := await stream.read():
        report["received"] += len(data)
        await in_thread(write_all, data)


async def run_tunnel(connection, arguments, report):
    stream = connection.open(request_headers(arguments))
    headers = dict(await stream.headers)
    report["status"] = int(headers.pop(":status"))
    report["headers"] = headers
    if report["status"] != 200:
        return
    tasks = [
        asyncio.create_task(send_input(stream, arguments, report)),
        asyncio.create_task(receive_output(stream, report)),
    ]
    done, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
    for task in pending:
        task.cancel()
    for task in done:
        task.result()


async def run(arguments, report):
    with_cert = not arguments.no_cert
    context = tunnel.tls_context(
        server=False,
        ca=arguments.ca,
        cert=arguments.cert if with_cert else None,
        key=arguments.key,
        alpn=None if arguments.alpn == "none" else arguments.alpn,
    )
    host, port = tunnel.split_address(arguments.connect)
    local = (arguments.bind, 0) if arguments.bind else None
    reader, writer = await asyncio.open_connection(host, port, ssl=context, local_addr=local)
    tls = writer.get_extra_info("ssl_object")
    report["tls_version"] = tls.version()
    report["alpn"] = tls.selected_alpn_protocol()
    report["peer_uris"] = tunnel.peer_uris(tls)
    connection = tunnel.Connection(reader, writer, client=True)
    reading = asyncio.create_task(connection.run())
    try:
        await run_tunnel(connection, arguments, report)
    finally:
        report["goaways"] = [code for _, code in connection.filter.goaways]
        connection.flush()
        writer.close()
        # The peer may be gone already: what there is to say is in the report.
        await asyncio.wait([reading], timeout=1)


def main():
    arguments = parse_arguments()
    report = {
        "status": None,
        "headers": {},
        "peer_uris": [],
        "tls_version": None,
        "alpn": None,
        "goaways": [],
        "sent": 0,
        "received": 0,
        "error": None,
    }
    try:
        # Not asyncio.run(): that waits for the thread which reads standard input.
        loop = asyncio.new_event_loop()
        loop.run_until_complete(asyncio.wait_for(run(arguments, report), arguments.timeout))
    except TimeoutError:
        report["error"] = "timeout"
    except (tunnel.TunnelError, h2.exceptions.H2Error) as error:
        report["error"] = str(error)
    except OSError as error:
        report["error"] = f"{type(error).__name__}: {error}"
    print(json.dumps(report), file=sys.stderr, flush=True)
    # The same thread would keep the process.
    os._exit(0 if report["status"] == 200 and report["error"] is None else 1)


if __name__ == "__main__":
    main()
