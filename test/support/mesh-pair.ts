// SPDX-License-Identifier: Apache-2.0
// Two pods that share a link: real network namespaces, real capture rules, and an engine in each
// pod that is to be in the mesh. The other kind is bare: a plain machine, for peers that are not
// ours. Nothing outlives the test, since processes of it hold the namespaces.
import { createPrivateKey, X509Certificate } from 'node:crypto';
import { readFileSync } from 'node:fs';
import type { Test } from 'tap';
import {
  closeFd,
  Engine,
  type EngineOptions,
  type IdentityMaterial,
  openPath,
  Protocol,
  type TablesDelta,
} from '../../native/index.ts';
import { NftCapture } from '../../src/cni/capture-nft.ts';
import { mustRun } from '../../src/lib/program.ts';
import { EventLog } from './event-log.ts';
import { isKernelRun, KernelCapture } from './kernel-capture.ts';
import { makeNetNamespace, type NetNamespace } from './net-namespace.ts';
import { type AppStream, inCgroup, PodApp } from './pod-app.ts';
import { type LeafFiles, TestCa } from './test-ca.ts';

type PodName = 'client' | 'server';

/** Addresses are the same in each pair: no namespace sees another pair's. */
const addresses = {
  client: { ipv4: '10.9.0.1', ipv6: 'fd09::1', mac: '02:00:00:00:00:01', last: 1 },
  server: { ipv4: '10.9.0.2', ipv6: 'fd09::2', mac: '02:00:00:00:00:02', last: 2 },
} as const;

/** Small buffers in the kernel, so that a bound on what a stalled connection takes can be stated. */
export const socketBytesMax: number = 256 << 10;

/** The SPIFFE ID of the workload with that service account. */
export function spiffeId(account: string): string {
  return `spiffe://cluster.local/ns/demo/sa/${account}`;
}

/** What an engine takes, from what the test authority wrote. */
export function materialOf(id: string, leaf: LeafFiles, rootFile: string): IdentityMaterial {
  const der = (file: string): Uint8Array =>
    new Uint8Array(new X509Certificate(readFileSync(file)).raw);
  const key = createPrivateKey(readFileSync(leaf.key));
  return {
    spiffeId: id,
    chain: [der(leaf.cert)],
    key: new Uint8Array(key.export({ format: 'der', type: 'pkcs8' })),
    roots: [der(rootFile)],
  };
}

/** One workload as the tables hold it; `policies` are keys. */
export function workloadOf(name: PodName, policies: string[] = []): TablesDelta['workloads'][0] {
  const { last } = addresses[name];
  return {
    $typeName: 'weft.tables.Workload',
    uid: name,
    name,
    namespace: 'demo',
    serviceAccount: name,
    trustDomain: 'cluster.local',
    addresses: [
      Uint8Array.of(10, 9, 0, last),
      Uint8Array.of(0xfd, 9, ...new Array<number>(13).fill(0), last),
    ],
    node: '',
    protocol: Protocol.HBONE,
    policies,
    services: [],
    healthy: true,
    canonicalName: name,
    canonicalRevision: 'v1',
    workloadName: name,
    workloadType: 'deployment',
    cluster: 'Kubernetes',
    hostNetwork: false,
    region: '',
    zone: '',
    subzone: '',
    network: '',
    waypoint: false,
    hostname: '',
  };
}

/** A pod without a proxy. */
export class BarePod {
  readonly name: PodName;
  readonly ipv4: string;
  readonly ipv6: string;
  readonly app: PodApp;
  readonly netnsPath: string;
  /** What a command begins with that is to run in this pod. */
  readonly inside: readonly string[];

  constructor(name: PodName, netnsPath: string) {
    this.name = name;
    this.ipv4 = addresses[name].ipv4;
    this.ipv6 = addresses[name].ipv6;
    this.netnsPath = netnsPath;
    const enter = ['nsenter', `--net=${netnsPath}`, '--'];
    const cgroup = isKernelRun ? KernelCapture.one.apps : undefined;
    this.inside = cgroup === undefined ? enter : [...inCgroup(cgroup), ...enter];
    this.app = new PodApp(netnsPath, cgroup);
  }
}

/** The same tests run over the rows that libraries do. */
const rows: EngineOptions = {
  ...(process.env['WEFT_TEST_ROWS'] === 'library' ? { tlsRow: 'library', h2Row: 'nghttp2' } : {}),
  ...(isKernelRun ? { bpfPins: KernelCapture.one.pins } : {}),
};

/** A pod of the mesh: its TCP is captured, by an engine of its own. */
export class MeshPod extends BarePod {
  readonly engine: Engine;
  readonly events: EventLog;
  readonly spiffeId: string;

  /** `other`, a pod of the same node, shares its engine with it. */
  constructor(name: PodName, netnsPath: string, options: EngineOptions, other?: MeshPod) {
    super(name, netnsPath);
    this.spiffeId = spiffeId(name);
    this.events = other?.events ?? new EventLog();
    this.engine = other?.engine ?? new Engine({ workers: 1, ...rows, ...options }, this.events.add);
  }

  /** Captures the pod and opens its listeners. The identity may come before or after. */
  async enrol(): Promise<void> {
    const capture = isKernelRun ? KernelCapture.one.capture : new NftCapture();
    await capture.install(this.netnsPath);
    const netns = openPath(this.netnsPath);
    try {
      await this.engine.addPod({
        uid: this.name,
        workloadUid: this.name,
        spiffeId: this.spiffeId,
        netns,
      });
    } finally {
      closeFd(netns);
    }
  }
}

async function link(client: NetNamespace, server: NetNamespace): Promise<void> {
  const at = (path: string, ...command: string[]): Promise<string> =>
    mustRun('nsenter', [`--net=${path}`, '--', ...command]);
  const { client: near, server: far } = addresses;
  const end = (mac: string): string[] => ['name', 'eth0', 'address', mac];
  const peer = ['peer', ...end(far.mac), 'netns', server.path];
  await at(client.path, 'ip', 'link', 'add', ...end(near.mac), 'type', 'veth', ...peer);
  for (const [{ path }, own, other] of [
    [client, near, far],
    [server, far, near],
  ] as const) {
    // Neighbours are told: the first packets of discovery over a new link are lost for a second.
    const lines = [
      'link set lo up',
      `address add ${own.ipv4}/24 dev eth0`,
      `address add ${own.ipv6}/64 dev eth0 nodad`,
      'link set eth0 up',
      `neighbour add ${other.ipv4} lladdr ${other.mac} dev eth0`,
      `neighbour add ${other.ipv6} lladdr ${other.mac} dev eth0`,
    ];
    await mustRun('nsenter', [`--net=${path}`, '--', 'ip', '-batch', '-'], {
      input: lines.join('\n'),
    });
    await at(path, 'sysctl', '-qw', `net.ipv4.tcp_rmem=4096 65536 ${socketBytesMax}`);
    await at(path, 'sysctl', '-qw', `net.ipv4.tcp_wmem=4096 65536 ${socketBytesMax}`);
  }
}

/** Who is in the mesh, and how its engines behave. */
export interface PairOptions {
  readonly client?: 'mesh' | 'bare';
  readonly server?: 'mesh' | 'bare';
  readonly engine?: EngineOptions;
  /** Both are carried by one engine, that of the client. */
  readonly oneNode?: boolean;
  /** False leaves the engines without word that they have all policies. */
  readonly policiesReceived?: boolean;
  /** False leaves them without certificates. */
  readonly identities?: boolean;
}

/** A client's and a server's pod. A property that is of no use for the kind of pod throws. */
export class MeshPair {
  readonly ca: TestCa;
  readonly #pods: Readonly<Record<PodName, BarePod>>;

  private constructor(ca: TestCa, pods: Readonly<Record<PodName, BarePod>>) {
    this.ca = ca;
    this.#pods = pods;
  }

  /** Ready for traffic: both workloads are in the tables and in the mesh, with no policy. */
  static async start(test: Test, options: PairOptions = {}): Promise<MeshPair> {
    const ca = await TestCa.create(test.testdir());
    const namespaces = { client: await makeNetNamespace(), server: await makeNetNamespace() };
    test.teardown(async () => {
      await namespaces.client.close();
      await namespaces.server.close();
    });
    await link(namespaces.client, namespaces.server);
    const make = (name: PodName, other?: BarePod): BarePod => {
      const { path } = namespaces[name];
      const neighbour = other instanceof MeshPod ? other : undefined;
      const pod =
        options[name] === 'bare'
          ? new BarePod(name, path)
          : new MeshPod(name, path, options.engine ?? {}, neighbour);
      test.teardown(async () => {
        if (pod instanceof MeshPod) {
          pod.engine.stop();
        }
        await pod.app.stop();
      });
      return pod;
    };
    const client = make('client');
    const server = make('server', options.oneNode === true ? client : undefined);
    const pair = new MeshPair(ca, { client, server });
    for (const pod of pair.#meshPods()) {
      if (options.identities ?? true) {
        pod.engine.setIdentity(await pair.material(pod.name));
      }
      await pod.enrol();
    }
    pair.apply({
      workloads: [workloadOf('client'), workloadOf('server')],
      policiesReceived: options.policiesReceived ?? true,
    });
    return pair;
  }

  #meshPods(): MeshPod[] {
    return Object.values(this.#pods).filter((pod) => pod instanceof MeshPod);
  }

  #mesh(name: PodName): MeshPod {
    const pod = this.#pods[name];
    if (!(pod instanceof MeshPod)) {
      throw new Error(`the ${name} is bare`);
    }
    return pod;
  }

  get client(): MeshPod {
    return this.#mesh('client');
  }

  get server(): MeshPod {
    return this.#mesh('server');
  }

  /** Either kind. */
  get clientPod(): BarePod {
    return this.#pods.client;
  }

  get serverPod(): BarePod {
    return this.#pods.server;
  }

  /** A new certificate of that service account, as an engine takes it. */
  async material(account: string, ca: TestCa = this.ca): Promise<IdentityMaterial> {
    const id = spiffeId(account);
    return materialOf(id, await ca.issue(id), ca.rootFile);
  }

  /** A connection of the client's application to the server's, which listens: both ends of it. */
  async connect(port: number, host: string = this.serverPod.ipv4): Promise<[AppStream, AppStream]> {
    const { clientPod, serverPod } = this;
    return Promise.all([clientPod.app.connect(host, port), serverPod.app.accept(port)]);
  }

  /** The same change for each engine. */
  apply(delta: Parameters<Engine['apply']>[0]): void {
    for (const engine of new Set(this.#meshPods().map((pod) => pod.engine))) {
      engine.apply(delta);
    }
  }
}
