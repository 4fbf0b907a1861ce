// SPDX-License-Identifier: Apache-2.0
// `npm run bench:control`: how long a snapshot takes to a new node proxy, and a change to all of
// them. The control plane and the clients are processes of their own.
import { type ChildProcess, fork, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { loadavg, tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { ChannelCredentials } from '@grpc/grpc-js';
import { Command } from 'commander';
import { readRoots } from '../../ca/authority.ts';
import { CaClient } from '../../ca/client.ts';
import { MeshError } from '../../lib/error.ts';
import { commandOf } from '../../lib/node-processes.ts';
import { runProgram } from '../../lib/program.ts';
import { formatSpiffeId, nodeSpiffeId } from '../../spiffe/id.ts';
import { resultsFolder, saveResults } from '../results.ts';
import type { ClientAnswer, ClientOrder, StreamTimes } from './client.ts';
import { MeshFolder } from './mesh.ts';
import type { ClientMaterial } from './stream.ts';

interface BenchOptions {
  readonly workloads: number;
  readonly services: number;
  readonly streams: number;
  readonly clients: number;
  readonly snapshots: number;
  readonly changes: number;
  readonly results: string;
}

/** Times in milliseconds. */
interface Percentiles {
  readonly n: number;
  readonly p50: number;
  readonly p99: number;
  readonly max: number;
}

function percentilesOf(samples: readonly number[]): Percentiles {
  const sorted = samples.toSorted((a, b) => a - b);
  const at = (share: number): number => {
    const value = sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] ?? 0;
    return Math.round(value * 100) / 100;
  };
  return { n: sorted.length, p50: at(0.5), p99: at(0.99), max: at(1) };
}

const progress = (text: string): void => {
  process.stderr.write(`  ${text}\n`);
};

/** A control plane that runs, and how much processor time it has taken. */
class Control {
  readonly #child: ChildProcess;
  readonly address: string;

  private constructor(child: ChildProcess, address: string) {
    this.#child = child;
    this.address = address;
  }

  static async start(config: string, state: string): Promise<Control> {
    const args = ['--config', config, '--state', state, '--listen', '127.0.0.1:0'];
    const [program = '', ...rest] = commandOf('control', args);
    const child = spawn(program, rest, { stdio: ['ignore', 'pipe', 'inherit'] });
    const lines = createInterface({ input: child.stdout });
    return await new Promise((resolve, reject) => {
      lines.on('line', (line) => {
        const record = JSON.parse(line) as { msg?: string; port?: number };
        if (record.msg === 'ready') {
          resolve(new Control(child, `localhost:${record.port}`));
        }
      });
      child.once('exit', () => reject(new MeshError('unavailable', 'the control plane ended')));
    });
  }

  #status(file: string): string {
    return readFileSync(`/proc/${this.#child.pid}/${file}`, 'utf8');
  }

  /** Seconds of processor time since its start. */
  get cpuSeconds(): number {
    const [, rest = ''] = this.#status('stat').split(') ');
    const fields = rest.split(' ');
    return (Number(fields[11]) + Number(fields[12])) / 100;
  }

  get residentMb(): number {
    return Number(/VmRSS:\s+(\d+)/.exec(this.#status('status'))?.[1]) / 1024;
  }

  async stop(): Promise<void> {
    const exit = once(this.#child, 'exit');
    this.#child.kill('SIGTERM');
    await exit;
  }
}

/** A process of streams. */
class ClientProcess {
  readonly #child: ChildProcess = fork(join(import.meta.dirname, 'client.ts'));

  async #answer(): Promise<readonly StreamTimes[]> {
    const [answer] = (await once(this.#child, 'message')) as [ClientAnswer];
    return answer.streams;
  }

  async order(order: ClientOrder): Promise<readonly StreamTimes[]> {
    this.#child.send(order);
    return await this.#answer();
  }

  /** Resolves when the next push is awaited, with a promise of it. */
  async watch(): Promise<{ readonly push: Promise<readonly StreamTimes[]> }> {
    await this.order({ kind: 'watch' });
    return { push: this.#answer() };
  }

  stop(): void {
    this.#child.disconnect();
    this.#child.kill();
  }
}

async function joinMesh(control: Control, state: string): Promise<ClientMaterial> {
  const { roots, trustDomain } = await readRoots(state);
  const rootPem = roots.map((der) => pem('CERTIFICATE', der)).join('');
  const node = 'node-0';
  const [program = '', ...args] = commandOf('token', ['create', '--node', node, '--state', state]);
  const token = (await runProgram(program, args)).stdout.trim();
  const credentials = ChannelCredentials.createSsl(Buffer.from(rootPem));
  const ca = new CaClient(control.address, { credentials, options: {} });
  const spiffeId = formatSpiffeId(nodeSpiffeId(trustDomain, node));
  const order = { spiffeId, validitySeconds: 3600, impersonate: false, token };
  const { key, chain } = await ca.issue(order);
  ca.close();
  const chainPem = chain.map((der) => pem('CERTIFICATE', der)).join('');
  return { rootPem, keyPem: pem('PRIVATE KEY', key), chainPem };
}

function pem(label: string, der: Uint8Array): string {
  const lines =
    Buffer.from(der)
      .toString('base64')
      .match(/.{1,64}/g) ?? [];
  return `-----BEGIN ${label}-----\n${lines.join('\n')}\n-----END ${label}-----\n`;
}

function millisecondsOf({ startNs, endNs }: StreamTimes): number {
  return (endNs - startNs) / 1e6;
}

async function measureSnapshots(
  clients: readonly ClientProcess[],
  rounds: number,
  resources: number,
): Promise<{ readonly times: Percentiles; readonly bytes: number }> {
  const [client] = clients;
  const times: number[] = [];
  let bytes = 0;
  for (let round = 0; client !== undefined && round < rounds; round += 1) {
    for (const stream of await client.order({ kind: 'open', streams: 1, resources })) {
      times.push(millisecondsOf(stream));
      bytes = stream.bytes;
    }
    await client.order({ kind: 'close' });
  }
  return { times: percentilesOf(times), bytes };
}

async function measureCrowd(
  clients: readonly ClientProcess[],
  streams: number,
  resources: number,
): Promise<Percentiles> {
  const share = Math.ceil(streams / clients.length);
  const all = await Promise.all(
    clients.map((client) => client.order({ kind: 'open', streams: share, resources })),
  );
  return percentilesOf(all.flat().map(millisecondsOf));
}

async function measureChanges(
  clients: readonly ClientProcess[],
  mesh: MeshFolder,
  count: number,
): Promise<{ readonly stream: Percentiles; readonly last: Percentiles }> {
  const each: number[] = [];
  const last: number[] = [];
  for (let change = 0; change < count; change += 1) {
    const watches = await Promise.all(clients.map((client) => client.watch()));
    const make = mesh.prepareChange();
    // Now and then, not at once: a lone change is what is measured.
    await new Promise((resolve) => setTimeout(resolve, 30 + (change % 7) * 10));
    const startNs = Number(process.hrtime.bigint());
    make();
    const times = (await Promise.all(watches.map(({ push }) => push))).flat();
    const late = times.map(({ endNs }) => (endNs - startNs) / 1e6);
    each.push(...late);
    last.push(Math.max(...late));
  }
  return { stream: percentilesOf(each), last: percentilesOf(last) };
}

async function measure(options: BenchOptions, folder: string): Promise<object> {
  const { workloads, services, streams } = options;
  const [config, state] = [join(folder, 'config'), join(folder, 'state')];
  const mesh = new MeshFolder(config, { workloads, services, nodes: 100 });
  progress(`${workloads} workloads, ${services} services`);
  // Above the number of cores somebody else uses the machine too, and the tail is theirs.
  const [loadBefore = 0] = loadavg();
  const before = performance.now();
  const control = await Control.start(config, state);
  const startSeconds = (performance.now() - before) / 1000;
  const clients = Array.from({ length: options.clients }, () => new ClientProcess());
  try {
    const material = await joinMesh(control, state);
    for (const client of clients) {
      await client.order({ kind: 'connect', address: control.address, material });
    }
    const snapshot = await measureSnapshots(clients, options.snapshots, mesh.resources);
    progress(`snapshot to one stream: ${JSON.stringify(snapshot.times)} ms`);
    const crowd = await measureCrowd(clients, streams, mesh.resources);
    progress(`snapshot to ${streams} streams at once: ${JSON.stringify(crowd)} ms`);
    const cpu = control.cpuSeconds;
    const change = await measureChanges(clients, mesh, options.changes);
    const changeCpuMs = ((control.cpuSeconds - cpu) * 1000) / options.changes;
    progress(`a change to ${streams} streams: ${JSON.stringify(change.stream)} ms`);
    const memoryMb = Math.round(control.residentMb);
    return { loadBefore, startSeconds, snapshot, crowd, change, changeCpuMs, memoryMb };
  } finally {
    for (const client of clients) {
      client.stop();
    }
    await control.stop();
  }
}

async function bench(options: BenchOptions): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'weft-bench-control-'));
  try {
    const measured = await measure(options, folder);
    const { results, ...how } = options;
    process.stdout.write(`${JSON.stringify(measured, null, 1)}\n`);
    progress(`written to ${saveResults(results, { ...how, ...measured }, 'control')}`);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

const positive = (text: string): number => {
  const value = Number(text);
  if (!Number.isInteger(value) || value < 1 || value > 100_000) {
    throw new MeshError('invalid', `${text} is not a whole number from 1 to 100000`);
  }
  return value;
};

const program = new Command('bench:control')
  .description('measure the control plane: snapshots and changes to many streams')
  .option('--workloads <n>', 'in the mesh', positive, 10_000)
  .option('--services <n>', 'in the mesh', positive, 200)
  .option('--streams <n>', 'open at one time', positive, 100)
  .option('--clients <n>', 'processes that hold them', positive, 4)
  .option('--snapshots <n>', 'measured one by one', positive, 20)
  .option('--changes <n>', 'measured one by one', positive, 200)
  .option('--results <folder>', 'where the result is written to', resultsFolder);
program.parse();
await bench(program.opts<BenchOptions>());
