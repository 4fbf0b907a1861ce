// SPDX-License-Identifier: Apache-2.0
// Sees every frame on a node's uplink: tcpdump writes them, tshark (which shares no code with the
// mesh) says what they are, and secrets are searched for in the raw bytes.
import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdirSync, readFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { setTimeout as wait } from 'node:timers/promises';
import { MeshError } from '../lib/error.ts';
import { ports } from '../lib/ports.ts';
import { mustRun } from '../lib/program.ts';
import { insideOf } from './processes.ts';

/** What was seen between the pods' addresses, and the tokens seen anywhere. */
export interface Sighting {
  /** Frames in the whole capture. */
  readonly frames: number;
  /** Frames between two pods' addresses. */
  readonly podFrames: number;
  /** Server ports of all TCP between pods, ascending. */
  readonly tcpPorts: readonly number[];
  /** IP protocol numbers between pods besides TCP, ascending. */
  readonly otherProtocols: readonly number[];
  /** What each ServerHello between pods chose, such as "0x0304"; sorted, each once. */
  readonly serverVersions: readonly string[];
  /** Those of the wanted tokens that stand somewhere in the capture's bytes. */
  readonly tokens: readonly string[];
}

/** A running capture. */
export interface Recording {
  /** Ends the capture; throws MeshError `internal` when the kernel dropped frames. */
  stop(): Promise<void>;
}

/** Largest capture that is analysed, in bytes; a demo writes a few hundred kilobytes. */
export const captureBytesMax: number = 256 << 20;

/** Where and how to record. */
export interface RecordingPlace {
  readonly netns: string;
  readonly cgroup: string;
  readonly link: string;
  readonly file: string;
  /** Sends a text over the link in plaintext, to see that everything before it was written. */
  sendMarker(marker: string): Promise<unknown>;
}

const markerTimeoutMs = 5_000;

// tcpdump says nothing of frames that it has not read yet when it is told to end.
async function waitForMarker(place: RecordingPlace): Promise<void> {
  const marker = randomBytes(16).toString('hex');
  const until = Date.now() + markerTimeoutMs;
  await place.sendMarker(marker);
  while (!readFileSync(place.file).includes(marker)) {
    if (Date.now() > until) {
      throw new MeshError('timeout', 'the recording does not see the link');
    }
    await wait(20);
  }
}

/** Starts to record all frames on a link of a network namespace; resolves when it sees them. */
export async function record(place: RecordingPlace): Promise<Recording> {
  const { netns, cgroup, link, file } = place;
  const options = ['-n', '-U', '--immediate-mode', '-s', '0', '-B', '16384', '-Z', 'root'];
  const command = ['tcpdump', '-i', link, ...options, '-w', file];
  const [program = '', ...args] = insideOf(netns, cgroup, command);
  mkdirSync(cgroup, { recursive: true });
  const child = spawn(program, args, { stdio: ['ignore', 'ignore', 'pipe'] });
  const exited = once(child, 'exit');
  const said: string[] = [];
  await new Promise<void>((resolve, reject) => {
    createInterface({ input: child.stderr }).on('line', (line) => {
      said.push(line);
      if (line.includes('listening on')) {
        resolve();
      }
    });
    child.once('error', (error) => reject(new MeshError('unsupported', error.message)));
    child.once('exit', () => reject(new MeshError('internal', `tcpdump: ${said.join('; ')}`)));
  });
  return {
    stop: async () => {
      await waitForMarker(place);
      child.kill('SIGINT');
      await exited;
      if (!said.some((line) => line.startsWith('0 packets dropped by kernel'))) {
        throw new MeshError('internal', `frames were lost: ${said.join('; ')}`);
      }
    },
  };
}

const fields = [
  'ip.src',
  'ipv6.src',
  'ip.dst',
  'ipv6.dst',
  'ip.proto',
  'ipv6.nxt',
  'tcp.srcport',
  'tcp.dstport',
  'tcp.flags',
  'tls.handshake.type',
  'tls.handshake.extensions.supported_version',
] as const;

/** One frame as tshark reads it; the outermost of each field. */
interface Frame {
  readonly source: string;
  readonly destination: string;
  readonly protocol: number;
  readonly ports: readonly [number, number];
  readonly opens: boolean;
  readonly serverHello: boolean;
  readonly versions: readonly string[];
}

const pcapMagic = 0xa1b2c3d4;
const tcp = 6;
const synAck = 0x12;
const syn = 0x02;
const serverHello = '2';

function frameOf(line: string): Frame {
  const cells = line.split('\t');
  const list = (name: (typeof fields)[number]): string[] => {
    return (cells[fields.indexOf(name)] ?? '').split(',').filter(Boolean);
  };
  const first = (...names: (typeof fields)[number][]): string => {
    return names.flatMap(list)[0] ?? '';
  };
  return {
    source: first('ip.src', 'ipv6.src'),
    destination: first('ip.dst', 'ipv6.dst'),
    protocol: Number(first('ip.proto', 'ipv6.nxt') || -1),
    ports: [Number(first('tcp.srcport')), Number(first('tcp.dstport'))],
    opens: (Number(first('tcp.flags')) & synAck) === syn,
    serverHello: list('tls.handshake.type').includes(serverHello),
    versions: list('tls.handshake.extensions.supported_version'),
  };
}

// The server's port is where a SYN went; without one, the lower number (others are ephemeral).
function serverPorts(frames: readonly Frame[]): number[] {
  const opened = new Set(frames.filter((frame) => frame.opens).map((frame) => frame.ports[1]));
  const all = new Set(opened);
  for (const { ports: pair } of frames) {
    if (!pair.some((port) => opened.has(port))) {
      all.add(Math.min(...pair));
    }
  }
  return [...all].sort((a, b) => a - b);
}

/**
 * Analyses a capture. `isPod` says which addresses are pods'; tokens are looked for in every byte
 * of every frame, whoever it is between. Throws MeshError `invalid` when `file` is no capture.
 */
export async function analyse(
  file: string,
  isPod: (address: string) => boolean,
  tokens: readonly string[],
): Promise<Sighting> {
  const bytes = readFileSync(file);
  // tshark takes many kinds of files for captures, and finds nothing in them.
  if (bytes.length < 4 || bytes.readUInt32LE(0) !== pcapMagic) {
    throw new MeshError('invalid', `${file} is not a capture`);
  }
  const wanted = fields.flatMap((field) => ['-e', field]);
  const decode = ['-d', `tcp.port==${ports.hbone},tls`, '-T', 'fields', '-E', 'occurrence=a'];
  const text = await mustRun('tshark', ['-n', '-r', file, ...decode, ...wanted], {
    timeoutMs: 60_000,
    outputBytesMax: captureBytesMax,
  });
  const frames = text.split('\n').filter(Boolean).map(frameOf);
  const between = frames.filter(({ source, destination }) => isPod(source) && isPod(destination));
  const streams = between.filter(({ protocol }) => protocol === tcp);
  const others = between.filter(({ protocol }) => protocol !== tcp);
  const hellos = streams.filter((frame) => frame.serverHello);
  return {
    frames: frames.length,
    podFrames: between.length,
    tcpPorts: serverPorts(streams),
    otherProtocols: [...new Set(others.map(({ protocol }) => protocol))].sort((a, b) => a - b),
    serverVersions: [...new Set(hellos.flatMap(({ versions }) => versions))].sort(),
    tokens: tokens.filter((token) => bytes.includes(token)),
  };
}
