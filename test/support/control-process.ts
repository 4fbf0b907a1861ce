// SPDX-License-Identifier: Apache-2.0
// A real control plane process and plain gRPC clients for it.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { ChannelCredentials, Client, Metadata, type ServiceError } from '@grpc/grpc-js';
import type { Test } from 'tap';
import {
  authorizationKey,
  certificateRequest,
  createCertificateMethod,
} from '../../src/ca/wire.ts';
import { makeRequest } from './certificate-requests.ts';

const launcher = fileURLToPath(new URL('../../src/cli/main.ts', import.meta.url));

/** A record of the control plane's log. */
export type LogRecord = Readonly<Record<string, unknown>>;

/** A key and a certificate chain in PEM, as a gRPC client shows them. */
export interface ClientIdentity {
  readonly keyPem: string;
  readonly chainPem: string;
}

/** What a certificate call asked for beside the CSR. */
export interface CallOptions {
  readonly token?: string;
  readonly identity?: ClientIdentity;
  readonly impersonate?: string;
  readonly validitySeconds?: number;
}

/** Runs a verb to its end and returns what it said. */
export async function runVerb(
  args: readonly string[],
): Promise<{ code: number; stdout: string; stderr: string }> {
  const child = spawn(process.execPath, [launcher, ...args], { stdio: ['ignore', 'pipe', 'pipe'] });
  const chunks = { stdout: '', stderr: '' };
  child.stdout.on('data', (text) => {
    chunks.stdout += text;
  });
  child.stderr.on('data', (text) => {
    chunks.stderr += text;
  });
  const [code] = await once(child, 'close');
  return { code, ...chunks };
}

/** A running control plane. */
export class ControlProcess {
  readonly port: number;
  readonly config: string;
  readonly state: string;
  readonly records: readonly LogRecord[];
  readonly rootPem: string;
  readonly #child: ReturnType<typeof spawn>;
  readonly #waiters: Set<() => void>;

  private constructor(
    child: ReturnType<typeof spawn>,
    folders: { config: string; state: string },
    records: readonly LogRecord[],
    waiters: Set<() => void>,
  ) {
    this.#child = child;
    this.#waiters = waiters;
    this.config = folders.config;
    this.state = folders.state;
    this.records = records;
    this.port = Number(records.find(({ msg }) => msg === 'ready')?.['port']);
    const roots = readdirSync(folders.state).filter((name) => /^root-.*\.pem$/.test(name));
    const texts = roots.map((name) => readFileSync(join(folders.state, name), 'utf8'));
    this.rootPem = texts
      .map((text) => text.slice(text.indexOf('-----BEGIN CERTIFICATE-----')))
      .join('');
  }

  /** Starts one on a free port of the loopback, and ends it with the test. */
  static async start(
    t: Test,
    folders: { config: string; state: string },
    more: readonly string[] = [],
  ): Promise<ControlProcess> {
    const args = ['control', '--config', folders.config, '--state', folders.state];
    const child = spawn(
      process.execPath,
      [launcher, ...args, '--listen', '127.0.0.1:0', '--log-level', 'debug', ...more],
      { stdio: ['ignore', 'pipe', 'inherit'] },
    );
    t.teardown(() => child.kill('SIGKILL'));
    const records: LogRecord[] = [];
    const waiters = new Set<() => void>();
    const lines = createInterface(child.stdout);
    lines.on('line', (line) => {
      records.push(JSON.parse(line));
      for (const wake of waiters) {
        wake();
      }
    });
    const isReady = () => records.some(({ msg }) => msg === 'ready');
    await new Promise<void>((resolve, reject) => {
      waiters.add(() => isReady() && resolve());
      child.on('exit', () => reject(new Error('control plane ended before it was ready')));
    });
    waiters.clear();
    return new ControlProcess(child, folders, records, waiters);
  }

  /** The first log record, past or future, for which `holds`. */
  record(holds: (record: LogRecord) => boolean): Promise<LogRecord> {
    return new Promise((resolve) => {
      const look = () => {
        const found = this.records.find(holds);
        if (found !== undefined) {
          this.#waiters.delete(look);
          resolve(found);
        }
      };
      this.#waiters.add(look);
      look();
    });
  }

  /** Ends it by a signal and returns its exit code. */
  async stop(signal: NodeJS.Signals): Promise<number | null> {
    const exit = once(this.#child, 'exit');
    this.#child.kill(signal);
    const [code] = await exit;
    return code;
  }

  /** A join token for a node. */
  async token(node: string, ...more: string[]): Promise<string> {
    const args = ['token', 'create', '--node', node, '--state', this.state, ...more];
    return (await runVerb(args)).stdout.trim();
  }

  /** A plain gRPC client, with or without a certificate. */
  client(identity?: ClientIdentity): Client {
    const key = identity && Buffer.from(identity.keyPem);
    const chain = identity && Buffer.from(identity.chainPem);
    const root = Buffer.from(this.rootPem);
    const credentials = ChannelCredentials.createSsl(root, key ?? null, chain ?? null);
    return new Client(`127.0.0.1:${this.port}`, credentials, {
      'grpc.use_local_subchannel_pool': 1,
      // TLS knows no server name that is an address; the certificate has both.
      'grpc.ssl_target_name_override': 'localhost',
    });
  }

  /** Calls CreateCertificate and returns the chain, or the error. */
  async certify(csrPem: string, options: CallOptions): Promise<readonly string[] | ServiceError> {
    const client = this.client(options.identity);
    const metadata = new Metadata();
    if (options.token !== undefined) {
      metadata.set(authorizationKey, `Bearer ${options.token}`);
    }
    const { path, requestSerialize, responseDeserialize } = createCertificateMethod;
    const message = certificateRequest({
      csrPem,
      validitySeconds: options.validitySeconds ?? 3600,
      ...(options.impersonate === undefined ? {} : { impersonatedIdentity: options.impersonate }),
    });
    return await new Promise((resolve) => {
      const deadline = { deadline: Date.now() + 10_000 };
      client.makeUnaryRequest(
        path,
        requestSerialize,
        responseDeserialize,
        message,
        metadata,
        deadline,
        (error, value) => {
          client.close();
          resolve(error ?? value?.certChain ?? []);
        },
      );
    });
  }

  /** Joins as a node and returns its credential. */
  async join(node: string): Promise<ClientIdentity> {
    const { csrPem, keyPem } = await makeRequest(`spiffe://cluster.local/node/${node}`);
    const chain = await this.certify(csrPem, { token: await this.token(node) });
    if (chain instanceof Error) {
      throw chain;
    }
    return { keyPem, chainPem: chain.slice(0, -1).join('') };
  }
}

/** Whether the state folder still says that somebody is in it. */
export function isLocked(state: string): boolean {
  return existsSync(join(state, 'lock'));
}
