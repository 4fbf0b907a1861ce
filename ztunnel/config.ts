// SPDX-License-Identifier: Apache-2.0
// The node proxy's settings, from its flags.
import { cpus } from 'node:os';
import { join } from 'node:path';
import { Command, CommanderError } from 'commander';
import * as z from 'zod';
import { MeshError, type Result } from '../src/lib/error.ts';
import {
  type ListenAddress,
  listenAddressOf,
  listenAddressPattern,
} from '../src/lib/listen-address.ts';
import { type LogLevel, logLevels } from '../src/lib/log.ts';
import { defaultPins } from '../src/lib/node-places.ts';
import { ports } from '../src/lib/ports.ts';
import { type EngineSettings, parseEngineSettings } from './engine-options.ts';
import { splitAddress } from './join.ts';

/** The settings of one node proxy. */
export interface Config {
  readonly node: string;
  /** "host:port" of the control plane. */
  readonly control: string;
  readonly joinTokenFile: string | undefined;
  readonly stateDir: string;
  /** A folder on tmpfs for the keys of workloads. */
  readonly keysDir: string;
  /** Saved state of the control plane that is older is not used, in milliseconds. */
  readonly stateMaxAgeMs: number;
  /** The CNI agent's socket. */
  readonly zdsPath: string;
  readonly metrics: ListenAddress;
  readonly readiness: ListenAddress;
  /** The socket of the admin interface. */
  readonly adminSocket: string;
  /** The socket by which a proxy that is started beside this one takes its place. */
  readonly handoverSocket: string;
  /** How long connections of a proxy that was replaced may go on, in milliseconds. */
  readonly drainMaxMs: number;
  /** Where the admin interface is served over TCP too, to look but not to touch. */
  readonly admin: ListenAddress | undefined;
  readonly workers: number;
  /** Where the CNI agent pins capture in the kernel. */
  readonly bpfPins: string;
  /** What else is set of the engine. */
  readonly engine: EngineSettings;
  /** The last labels of the hostnames of Kubernetes services. */
  readonly clusterDomain: string;
  /** Names the resolvers of pods that bring none of their own. */
  readonly resolvConf: string;
  readonly logLevel: LogLevel;
  /** Which connections have a line in the access log. */
  readonly accessLog: AccessLogLines;
}

/** Of all connections, of those that are refused or end by an error, or of none. */
export const accessLogLines = ['on', 'failed', 'off'] as const;
export type AccessLogLines = (typeof accessLogLines)[number];

/** Most worker threads. */
export const workersMax = 256;

// A node name is a DNS subdomain (RFC 1123): it becomes part of a SPIFFE ID's path.
const nodeName = z.string().regex(/^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$/, 'is not a node name');

const address = z.string().superRefine((text, context) => {
  try {
    splitAddress(text);
  } catch (error) {
    context.addIssue({ code: 'custom', message: MeshError.from(error).message });
  }
});

// Unlike an address to connect to, it may have port 0.
const listenAddress = z
  .string()
  .regex(listenAddressPattern, 'is not ADDR:PORT')
  .transform(listenAddressOf)
  .refine(({ port }) => port <= 65535, 'port is over 65535');

// The kernel keeps it with its end in 108 bytes.
const socketPathMax = 107;
const socketPath = z.string().min(1).max(socketPathMax, 'is too long for a socket path');

const unitsMs: ReadonlyMap<string, number> = new Map([
  ['s', 1_000],
  ['m', 60_000],
  ['h', 3_600_000],
  ['d', 86_400_000],
]);

const duration = z
  .string()
  .regex(/^[1-9]\d{0,5}[smhd]$/, 'is not a number with s, m, h or d')
  .transform((text) => Number.parseInt(text, 10) * (unitsMs.get(text.slice(-1)) ?? 0));

const schema = z.object({
  node: nodeName,
  control: address,
  joinToken: z.string().min(1).optional(),
  state: z.string().min(1),
  keys: z.string().min(1),
  stateMaxAge: duration,
  zds: socketPath,
  metrics: listenAddress,
  readiness: listenAddress,
  adminSocket: socketPath.optional(),
  handoverSocket: socketPath.optional(),
  drainMax: duration,
  admin: listenAddress.optional(),
  clusterDomain: nodeName,
  resolvConf: z.string().min(1),
  bpfPins: z.string().min(1),
  workers: z.coerce.number().int().min(1).max(workersMax),
  engine: z.array(z.string()),
  logLevel: z.enum(logLevels),
  accessLog: z.enum(accessLogLines),
});

const collect = (text: string, before: string[]): string[] => [...before, text];

/** The flags, as `--help` shows them. */
export function ztunnelCommand(): Command {
  const workers = Math.max(1, Math.floor(cpus().length / 2));
  return new Command('weft ztunnel')
    .description('carry the traffic of the pods of one node')
    .requiredOption('--node <name>', 'the name of this node')
    .requiredOption('--control <host:port>', 'where the control plane listens')
    .option('--join-token <file>', 'join token, needed until the node has a certificate')
    .requiredOption('--state <folder>', "where the node's key and certificate are kept")
    .option('--keys <folder>', 'a folder on tmpfs for the keys of workloads', '/run/weft/ztunnel')
    .option('--state-max-age <time>', 'do not serve from saved state that is older', '24h')
    .requiredOption('--zds <path>', "the CNI agent's socket")
    .option('--metrics <addr:port>', 'where metrics are served', `[::]:${ports.metrics}`)
    .option('--readiness <addr:port>', 'where readiness is served', `[::]:${ports.readiness}`)
    .option('--admin-socket <path>', 'the admin socket (admin.sock in the state folder)')
    .option('--handover-socket <path>', 'for a successor (handover.sock in the state folder)')
    .option('--drain-max <time>', 'how long connections of a replaced proxy may go on', '10m')
    .option('--admin <addr:port>', 'serve admin over TCP too, on this machine, read-only')
    .option('--bpf-pins <folder>', 'where the agent pins capture in the kernel', defaultPins)
    .option('--workers <n>', 'worker threads', String(workers))
    .option('--engine <name=value>', 'a setting of the engine; may be repeated', collect, [])
    .option('--cluster-domain <domain>', 'the last labels of service names', 'cluster.local')
    .option('--resolv-conf <file>', 'resolvers of pods that bring none', '/etc/resolv.conf')
    .option('--log-level <level>', logLevels.join(', '), 'info')
    .option('--access-log <which>', `connections in it: ${accessLogLines.join(', ')}`, 'on');
}

/**
 * Reads the flags. The error's message is for the user; an empty one says that help was asked for
 * and printed.
 */
export function parseConfig(argv: readonly string[]): Result<Config> {
  // The caller prints the one sentence.
  const command = ztunnelCommand()
    .exitOverride()
    .configureOutput({ writeErr: () => undefined });
  try {
    command.parse([...argv], { from: 'user' });
    const {
      joinToken,
      state,
      keys,
      stateMaxAge,
      zds,
      adminSocket = join(state, 'admin.sock'),
      handoverSocket = join(state, 'handover.sock'),
      drainMax,
      admin,
      engine: texts,
      ...rest
    } = schema.parse(command.opts());
    if (adminSocket.length > socketPathMax || handoverSocket.length > socketPathMax) {
      const flags = '--admin-socket and --handover-socket are needed';
      throw new MeshError('invalid', `${flags}: those of --state are too long`);
    }
    const engine = parseEngineSettings(texts);
    if (!engine.ok) {
      return engine;
    }
    const times = { stateMaxAgeMs: stateMaxAge, drainMaxMs: drainMax };
    const folders = { stateDir: state, keysDir: keys, ...times };
    const sockets = { zdsPath: zds, adminSocket, handoverSocket };
    const names = { joinTokenFile: joinToken, admin, ...sockets, ...folders };
    return { ok: true, value: { ...rest, ...names, engine: engine.value } };
  } catch (error) {
    return { ok: false, error: new MeshError('invalid', sentenceOf(error), { cause: error }) };
  }
}

function sentenceOf(error: unknown): string {
  if (error instanceof z.ZodError) {
    return error.issues.map(({ path, message }) => `--${flagOf(path)} ${message}`).join('; ');
  }
  if (error instanceof CommanderError) {
    return error.exitCode === 0 ? '' : error.message.replace(/^error: /, '');
  }
  return MeshError.from(error).message;
}

function flagOf(path: readonly PropertyKey[]): string {
  return String(path[0]).replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
}
