// SPDX-License-Identifier: Apache-2.0
// One node proxy with the real engine, real SEQPACKET sockets and a real agent's socket; control
// plane and agent are plain ones of the tests.
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Test } from 'tap';
import * as native from '../../native/index.ts';
import type { WorkloadInfo } from '../../src/lib/gen/zds_pb.js';
import { createLog } from '../../src/lib/log.ts';
import { TunnelProtocol } from '../../src/xds/wire.ts';
import type { Config } from '../../ztunnel/config.ts';
import type { Predecessor } from '../../ztunnel/handover/predecessor.ts';
import { NodeProxy } from '../../ztunnel/node-proxy.ts';
import { addressResource, type Versioned } from './delta-server.ts';
import { FakeAgent } from './fake-agent.ts';
import { type FakeControl, startFakeControl } from './fake-control.ts';
import { FakeDns } from './fake-dns.ts';

const local = { host: '127.0.0.1', port: 0 };
/** The workload of the one pod. */
export const client: Versioned = addressResource('Kubernetes//Pod/demo/client', '1', {
  type: {
    case: 'workload',
    value: {
      uid: 'Kubernetes//Pod/demo/client',
      name: 'client',
      namespace: 'demo',
      serviceAccount: 'client',
      node: 'a',
      addresses: [new Uint8Array([10, 0, 0, 1])],
      tunnelProtocol: TunnelProtocol.HBONE,
    },
  },
});
/** What the agent says of it. */
export const info: Pick<WorkloadInfo, 'name' | 'namespace' | 'serviceAccount'> = {
  name: 'client',
  namespace: 'demo',
  serviceAccount: 'client',
};

/** A line of the proxy's log. */
export interface Line {
  readonly msg: string;
  readonly [key: string]: unknown;
}

/** What is special about a proxy. */
export interface OneProxyOptions {
  /** The proxy before it, found at its socket for that. */
  readonly predecessor?: (handoverSocket: string) => Promise<Predecessor | undefined>;
  readonly waits?: { readonly controlMs?: number; readonly wholeMs?: number };
  /** Certificates of pods are issued when this resolves. */
  readonly issuing?: () => Promise<void>;
}

/** A proxy that has not been started, and all about it. */
export interface OneProxy {
  readonly control: FakeControl;
  readonly agent: FakeAgent;
  readonly proxy: NodeProxy;
  readonly config: Config;
  readonly dns: FakeDns;
  /** Its log so far. */
  readonly lines: readonly Line[];
  /** How often it asked for its end, and was ready. */
  readonly quits: readonly string[];
  readonly readies: readonly string[];
  /** Resolves with the first line that says so. */
  logged(msg: string): Promise<Line>;
}

/** Everything but its start. */
export async function oneProxy(t: Test, options: OneProxyOptions = {}): Promise<OneProxy> {
  const control = await startFakeControl(options.issuing);
  // Not t.testdir: a socket's path has to be short.
  const dir = mkdtempSync(join(tmpdir(), 'weft-proxy-'));
  const keys = mkdtempSync('/dev/shm/weft-proxy-');
  t.teardown(() => rmSync(keys, { recursive: true }));
  writeFileSync(join(dir, 'token'), control.token);
  const lines: Line[] = [];
  const waiting = new Map<string, (line: Line) => void>();
  const log = createLog('test', 'debug', {
    write: (text) => {
      const line = JSON.parse(text) as Line;
      lines.push(line);
      waiting.get(line.msg)?.(line);
    },
  });
  const logged = (msg: string): Promise<Line> => {
    const seen = lines.find((line) => line.msg === msg);
    return seen === undefined
      ? new Promise((resolve) => waiting.set(msg, resolve))
      : Promise.resolve(seen);
  };
  const config = {
    node: 'a',
    control: control.service.address,
    joinTokenFile: join(dir, 'token'),
    stateDir: join(dir, 'state'),
    keysDir: join(keys, 'keys'),
    stateMaxAgeMs: 60_000,
    zdsPath: join(dir, 'zds.sock'),
    bpfPins: join(dir, 'bpf'),
    metrics: local,
    readiness: local,
    workers: 1,
    adminSocket: join(dir, 'state/admin.sock'),
    handoverSocket: join(dir, 'state/handover.sock'),
    drainMaxMs: 60_000,
    admin: local,
    clusterDomain: 'cluster.local',
    resolvConf: '/dev/null',
    logLevel: 'debug' as const,
    accessLog: 'on' as const,
    engine: {},
  };
  const dns = new FakeDns();
  const accessLog = { process: 'ztunnel', opened: false };
  const quits: string[] = [];
  const readies: string[] = [];
  mkdirSync(config.stateDir);
  const predecessor = await options.predecessor?.(config.handoverSocket);
  const takesOver = predecessor !== undefined;
  const proxy = new NodeProxy(
    config,
    {
      engine: (onEvents) => new native.Engine({ workers: 1, accessLog, takesOver }, onEvents),
      transport: { connect: native.connectPackets, closeFd: native.closeFd },
      listen: native.listenPackets,
      peerUser: native.peerUser,
      isNetns: native.isNetns,
      dns: () => dns,
    },
    log,
    {
      lines: () => undefined,
      logDropped: () => 0,
      quit: () => quits.push('quit'),
      ready: () => readies.push('ready'),
      ...(options.waits === undefined ? {} : { waits: options.waits }),
    },
    predecessor,
  );
  const agent = new FakeAgent(config.zdsPath);
  t.teardown(async () => {
    await proxy.stop();
    agent.close();
    control.close();
    rmSync(dir, { recursive: true });
  });
  return { control, agent, proxy, logged, lines, dns, quits, readies, config };
}
