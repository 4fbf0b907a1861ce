# SPDX-License-Identifier: Apache-2.0
"""What both ends of an HBONE tunnel need: mutual TLS 1.3, and HTTP/2 streams with flow control.

HTTP/2 is the h2 package's and TLS is OpenSSL's, so that a mistake of Weft's own is not made twice.
"""

import asyncio
import ssl

import h2.config
import h2.connection
import h2.events
import h2.exceptions
import h2.settings

STREAM_WINDOW_BYTES = 1 << 20
CONNECTION_WINDOW_BYTES = 16 << 20
READ_BYTES = 256 << 10
STREAMS_MAX = 200
PREFACE_BYTES = 24
FRAME_HEADER_BYTES = 9
GOAWAY_TYPE = 7


def tls_context(server, ca, cert=None, key=None, alpn=None):
    """Checks the peer's chain against `ca`, but no host name: a workload has a SPIFFE ID."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if server else ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(cafile=ca)
    if cert:
        context.load_cert_chain(cert, key)
    if alpn:
        context.set_alpn_protocols([alpn])
    return context


def peer_uris(tls):
    """The URI names in the certificate the peer proved, or an empty list."""
    certificate = tls.getpeercert() or {}
    return [value for kind, value in certificate.get("subjectAltName", ()) if kind == "URI"]


def split_address(text):
    """The host and the port of "10.0.0.1:80" or "[fd00::1]:80"."""
    host, _, port = text.rpartition(":")
    return host.removeprefix("[").removesuffix("]"), int(port)


class FrameFilter:
    """Takes GOAWAY frames (RFC 9113 section 6.8) out of what is read: h2 ends all streams at one,
    but a peer that drains means those that are open to go on."""

    def __init__(self, preface_bytes):
        self.skip = preface_bytes
        self.rest = bytearray()
        self.goaways = []

    def feed(self, data):
        """The bytes for h2; (last stream, code) of each GOAWAY is added to `goaways`."""
        passed = data[: self.skip]
        self.skip -= len(passed)
        self.rest += data[len(passed) :]
        at = 0
        frames = [passed]
        while len(self.rest) - at >= FRAME_HEADER_BYTES:
            end = at + FRAME_HEADER_BYTES + int.from_bytes(self.rest[at : at + 3], "big")
            if end > len(self.rest):
                break
            if self.rest[at + 3] == GOAWAY_TYPE:
                payload = self.rest[at + FRAME_HEADER_BYTES : end]
                last_stream = int.from_bytes(payload[:4], "big") & 0x7FFFFFFF
                self.goaways.append((last_stream, int.from_bytes(payload[4:8], "big")))
            else:
                frames.append(bytes(self.rest[at:end]))
            at = end
        del self.rest[:at]
        return b"".join(frames)


class TunnelError(Exception):
    """The stream or the connection ended otherwise than by END_STREAM."""


class Stream:
    """One HTTP/2 stream. What the peer sends waits in `received` until it is acknowledged, so that
    a slow reader holds the peer back."""

    def __init__(self, connection, number):
        self.connection = connection
        self.number = number
        self.headers = asyncio.get_running_loop().create_future()
        self.received = asyncio.Queue()
        self.writable = asyncio.Event()
        self.error = None

    def fail(self, reason):
        """Ends reading and writing with a TunnelError."""
        if self.error is None:
            self.error = reason
            self.writable.set()
            self.received.put_nowait(None)
            if not self.headers.done():
                self.headers.set_exception(TunnelError(reason))
                self.headers.exception()

    def check(self):
        if self.error is not None:
            raise TunnelError(self.error)

    async def read(self):
        """The next bytes of the peer; empty at its END_STREAM."""
        item = await self.received.get()
        if item is None:
            self.check()
            return b""
        data, flow_length = item
        self.connection.acknowledge(self.number, flow_length)
        return data

    async def write(self, data):
        """Returns when all of `data` has been handed to TLS."""
        http = self.connection.http
        rest = memoryview(data)
        while rest:
            self.check()
            size = min(
                http.local_flow_control_window(self.number), http.max_outbound_frame_size, len(rest)
            )
            if size <= 0:
                self.writable.clear()
                await self.writable.wait()
                continue
            http.send_data(self.number, bytes(rest[:size]))
            rest = rest[size:]
            await self.connection.drain()

    async def end(self):
        """Sends END_STREAM."""
        self.check()
        self.connection.http.end_stream(self.number)
        await self.connection.drain()

    async def reset(self, code):
        """Sends RST_STREAM; nothing when the stream is over already."""
        try:
            self.connection.http.reset_stream(self.number, code)
            await self.connection.drain()
        except (h2.exceptions.ProtocolError, OSError):
            pass


class Connection:
    """HTTP/2 over one TLS connection. `on_request(stream, headers)` starts what a server does.
    `on_settled(alone)` is told when our SETTINGS are acknowledged: by a read with nothing else?
    With `late` nothing is said before the first answer, which our SETTINGS then go with."""

    def __init__(
        self,
        reader,
        writer,
        client,
        on_request=None,
        on_settled=None,
        late=False,
        stream_window=STREAM_WINDOW_BYTES,
    ):
        # Tests also send what a good client would not: whoever receives it has to judge it. h2 wants
        # a :path in each request, so that the server has to judge a CONNECT itself.
        config = h2.config.H2Configuration(
            client_side=client,
            header_encoding="utf-8",
            validate_inbound_headers=client,
            validate_outbound_headers=False,
            normalize_outbound_headers=False,
        )
        self.http = h2.connection.H2Connection(config)
        self.reader = reader
        self.writer = writer
        self.on_request = on_request
        self.on_settled = on_settled
        self.late = late
        self.streams = {}
        self.error = None
        self.filter = FrameFilter(0 if client else PREFACE_BYTES)
        self.http.initiate_connection()
        self.http.update_settings(
            {
                h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: stream_window,
                h2.settings.SettingCodes.MAX_CONCURRENT_STREAMS: STREAMS_MAX,
            }
        )
        self.http.increment_flow_control_window(
            CONNECTION_WINDOW_BYTES - self.http.inbound_flow_control_window
        )
        self.flush()

    def flush(self):
        if self.late:
            return
        data = self.http.data_to_send()
        if data and not self.writer.is_closing():
            self.writer.write(data)

    async def drain(self):
        self.late = False
        self.flush()
        await self.writer.drain()

    def acknowledge(self, number, flow_length):
        if flow_length and self.error is None:
            self.http.acknowledge_received_data(flow_length, number)
            self.flush()

    def open(self, headers, end_stream=False):
        """Sends a request; the answer's headers come as `stream.headers`."""
        number = self.http.get_next_available_stream_id()
        self.http.send_headers(number, headers, end_stream=end_stream)
        self.flush()
        self.streams[number] = Stream(self, number)
        return self.streams[number]

    async def run(self):
        """Reads until the connection is over, and ends every stream that is not. Never waits for
        room to write: two peers that both did would wait for ever."""
        reason = "connection closed"
        try:
            while data := await self.reader.read(READ_BYTES):
                events = self.http.receive_data(self.filter.feed(data))
                for event in events:
                    self.handle(event)
                self.tell_settled(events)
                self.handle_goaways()
                self.flush()
        except h2.exceptions.ProtocolError as error:
            self.flush()
            reason = f"protocol error: {error}"
        except OSError as error:
            reason = f"{type(error).__name__}: {error}"
        self.error = self.error or reason
        for stream in list(self.streams.values()):
            stream.fail(self.error)
        self.writer.close()

    def tell_settled(self, events):
        acknowledged = [isinstance(one, h2.events.SettingsAcknowledged) for one in events]
        if self.on_settled is not None and any(acknowledged):
            self.on_settled(all(acknowledged))

    def go_away(self, last_stream=None):
        """Announces that new streams are no longer taken, as bytes: h2 would end those that run."""
        if last_stream is None:
            last_stream = max(self.streams, default=0)
        payload = last_stream.to_bytes(4, "big") + bytes(4)
        self.flush()
        header = len(payload).to_bytes(3, "big") + bytes([GOAWAY_TYPE]) + bytes(5)
        self.writer.write(header + payload)

    def handle_goaways(self):
        for last_stream, code in self.filter.goaways:
            if code != 0:
                self.error = f"goaway {code}"
            for stream in self.streams.values():
                if stream.number > last_stream:
                    stream.fail(f"goaway {code}")

    def handle(self, event):
        stream = self.streams.get(getattr(event, "stream_id", None))
        match event:
            case h2.events.RequestReceived():
                self.streams[event.stream_id] = Stream(self, event.stream_id)
                self.on_request(self.streams[event.stream_id], list(event.headers))
            case h2.events.RemoteSettingsChanged() | h2.events.WindowUpdated(stream_id=0):
                for each in self.streams.values():
                    each.writable.set()
            case _ if stream is not None:
                self.handle_stream(stream, event)

    @staticmethod
    def handle_stream(stream, event):
        match event:
            case h2.events.ResponseReceived():
                stream.headers.set_result(list(event.headers))
            case h2.events.DataReceived():
                stream.received.put_nowait((event.data, event.flow_controlled_length))
            case h2.events.StreamEnded():
                stream.received.put_nowait(None)
            case h2.events.StreamReset():
                stream.fail(f"reset {int(event.error_code)}")
            case h2.events.WindowUpdated():
                stream.writable.set()
