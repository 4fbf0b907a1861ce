// SPDX-License-Identifier: Apache-2.0
// Frames are made here byte by byte; tshark reads them.
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { analyse, type Sighting } from '../../../src/lab/detector.ts';
import { runProgram } from '../../../src/lib/program.ts';

const tool = await runProgram('tshark', ['--version']).catch(() => undefined);
const skip = tool?.code === 0 ? false : 'needs tshark';

const a = '10.77.1.10';
const b = '10.77.2.10';
const outside = '192.0.2.1';
const syn = 0x02;
const push = 0x18;

interface Segment {
  readonly from?: string;
  readonly to?: string;
  readonly ports: readonly [number, number];
  readonly flags: number;
  readonly payload?: Buffer;
}

const bytesOf = (ip: string): number[] => ip.split('.').map(Number);

function ipv4(from: string, to: string, protocol: number, payload: Buffer): Buffer {
  const header = Buffer.from([0x45, 0, 0, 0, 0, 0, 0, 0, 64, protocol, 0, 0]);
  header.writeUInt16BE(20 + payload.length, 2);
  const ethernet = Buffer.from([...Array(12).fill(2), 0x08, 0x00]);
  return Buffer.concat([
    ethernet,
    header,
    Buffer.from([...bytesOf(from), ...bytesOf(to)]),
    payload,
  ]);
}

function tcp({ from = a, to = b, ports, flags, payload = Buffer.alloc(0) }: Segment): Buffer {
  const header = Buffer.alloc(20);
  header.writeUInt16BE(ports[0], 0);
  header.writeUInt16BE(ports[1], 2);
  header.writeUInt32BE(1, 4);
  header[12] = 0x50;
  header[13] = flags;
  header.writeUInt16BE(65535, 14);
  return ipv4(from, to, 6, Buffer.concat([header, payload]));
}

function pcap(frames: readonly Buffer[]): Buffer {
  const head = Buffer.alloc(24);
  head.writeUInt32LE(0xa1b2c3d4, 0);
  head.writeUInt16LE(2, 4);
  head.writeUInt16LE(4, 6);
  head.writeUInt32LE(262144, 16);
  head.writeUInt32LE(1, 20);
  const records = frames.map((frame) => {
    const record = Buffer.alloc(16);
    record.writeUInt32LE(frame.length, 8);
    record.writeUInt32LE(frame.length, 12);
    return Buffer.concat([record, frame]);
  });
  return Buffer.concat([head, ...records]);
}

// RFC 8446 section 4.1.3: legacy version, random, no session id, one cipher, supported_versions.
function serverHello(version: number): Buffer {
  const extension = Buffer.from([0x00, 0x2b, 0x00, 0x02, version >> 8, version & 0xff]);
  const body = Buffer.concat([
    Buffer.from([0x03, 0x03]),
    Buffer.alloc(32, 7),
    Buffer.from([0x00, 0x13, 0x01, 0x00, 0x00, extension.length]),
    extension,
  ]);
  const handshake = Buffer.concat([Buffer.from([0x02, 0x00, 0x00, body.length]), body]);
  return Buffer.concat([Buffer.from([0x16, 0x03, 0x03, 0x00, handshake.length]), handshake]);
}

async function seen(
  folder: string,
  frames: readonly Buffer[],
  tokens: readonly string[] = [],
): Promise<Sighting> {
  const file = join(folder, 'frames.pcap');
  writeFileSync(file, pcap(frames));
  return await analyse(file, (address) => address === a || address === b, tokens);
}

t.test('a tunnel is seen as its port and the version it chose', { skip }, async (t) => {
  const answer = { from: b, to: a, ports: [15008, 40000], flags: push } as const;
  const sighting = await seen(t.testdir(), [
    tcp({ ports: [40000, 15008], flags: syn }),
    tcp({ ...answer, payload: serverHello(0x0304) }),
  ]);
  t.same(sighting, {
    frames: 2,
    podFrames: 2,
    tcpPorts: [15008],
    otherProtocols: [],
    serverVersions: ['0x0304'],
    tokens: [],
  });
});

t.test('an older version in a ServerHello is seen', { skip }, async (t) => {
  const frame = tcp({
    from: b,
    to: a,
    ports: [15008, 40000],
    flags: push,
    payload: serverHello(0x0303),
  });
  t.same((await seen(t.testdir(), [frame])).serverVersions, ['0x0303']);
});

t.test('plaintext beside the tunnel is seen by its port and its bytes', { skip }, async (t) => {
  const payload = Buffer.from('GET /secret-token HTTP/1.1\r\n');
  const sighting = await seen(
    t.testdir(),
    [
      tcp({ ports: [40000, 15008], flags: syn }),
      tcp({ ports: [40001, 8080], flags: syn }),
      tcp({ ports: [40001, 8080], flags: push, payload }),
    ],
    ['secret-token', 'never-sent'],
  );
  t.match(sighting, { tcpPorts: [8080, 15008], tokens: ['secret-token'] });
});

t.test('a connection that began before the recording is seen too', { skip }, async (t) => {
  const frames = [tcp({ from: b, to: a, ports: [8080, 40001], flags: push })];
  t.same((await seen(t.testdir(), frames)).tcpPorts, [8080]);
});

t.test('other protocols between pods are listed', { skip }, async (t) => {
  const udp = ipv4(a, b, 17, Buffer.from([0x9c, 0x40, 0, 53, 0, 8, 0, 0]));
  t.match(await seen(t.testdir(), [udp]), { tcpPorts: [], otherProtocols: [17] });
});

t.test('what is not between pods counts only for tokens', { skip }, async (t) => {
  const payload = Buffer.from('secret-token');
  const frame = tcp({ to: outside, ports: [40000, 15012], flags: push, payload });
  const sighting = await seen(t.testdir(), [frame], ['secret-token']);
  t.match(sighting, { frames: 1, podFrames: 0, tcpPorts: [], tokens: ['secret-token'] });
});

t.test('a file that is no capture is an error, not an empty sighting', { skip }, async (t) => {
  const file = join(t.testdir({ 'frames.pcap': 'nothing' }), 'frames.pcap');
  await t.rejects(
    analyse(file, () => true, []),
    { code: 'invalid' },
  );
});
