// SPDX-License-Identifier: Apache-2.0
// A service with endpoints on the client's node and on another, for tests of what the kernel picks.
// Imported when WEFT_TEST_CAPTURE says that pods are captured in the kernel.
import type { Test } from 'tap';
import type { LoadBalancing } from '../../native/gen/tables_pb.js';
import type { Engine, TablesDelta } from '../../native/index.ts';
import { countOf } from './kernel-counters.ts';
import { type MeshPair, workloadOf } from './mesh-pair.ts';
import { PodApp } from './pod-app.ts';
import { enrolRemote, joinRemote } from './remote-pod.ts';
import { startNode } from './same-node.ts';

type Workload = TablesDelta['workloads'][number];

/** The addresses of the service. */
export const vip = { ipv4: '10.9.0.100', ipv6: 'fd09::100', mapped: '::ffff:10.9.0.100' } as const;
/** Its ports, and those of its applications behind them: at one they tell where they are. */
export const tells = { port: 80, target: 8080 } as const;
export const talks = { port: 81, target: 8081 } as const;
/** Here the remote endpoint's alone listens. */
export const refuses = { port: 82, target: 8082 } as const;
export const serviceKey = 'demo/web.demo.svc.cluster.local';
export const remote = { name: 'east', ipv4: '10.9.0.11', ipv6: 'fd09::11', last: 11 } as const;

/** Later than all other addresses, which are published in their order. */
const marker = 'fd09::ffff';

const bytesOf = {
  [vip.ipv4]: Uint8Array.of(10, 9, 0, 100),
  [vip.ipv6]: Uint8Array.of(0xfd, 9, ...new Array<number>(12).fill(0), 1, 0),
  [marker]: Uint8Array.of(0xfd, 9, ...new Array<number>(12).fill(0), 0xff, 0xff),
};

/** How the mesh is to be; what is not named is ready, in one place, and weighs the same. */
export interface World {
  /** Null: it is no endpoint. */
  readonly local?: Partial<Workload> | null;
  readonly remote?: Partial<Workload> | null;
  readonly client?: Partial<Workload>;
  /** The client, too, is an endpoint. */
  readonly isOwn?: boolean;
  readonly balancing?: Partial<LoadBalancing>;
  readonly waypoint?: boolean;
  readonly policies?: TablesDelta['policies'];
  readonly removedPolicies?: string[];
}

interface Ports {
  readonly port: number;
  readonly target: number;
}

const binding = (service: string, ...ports: Ports[]) => ({
  $typeName: 'weft.tables.ServiceBinding' as const,
  service,
  ports: ports.map(({ port, target }) => ({
    ...{ $typeName: 'weft.tables.PortMap' as const, servicePort: port, targetPort: target },
  })),
});

function serviceOf(key: string, addresses: Uint8Array[], ports: number[], more: object) {
  const [namespace = '', hostname = ''] = key.split('/');
  return {
    ...{ key, name: hostname.split('.')[0] ?? '', namespace, hostname },
    addresses: addresses.map((address) => ({ range: { address, length: address.length * 8 } })),
    ports: ports.map((servicePort) => ({ servicePort })),
    ...more,
  };
}

/** A node with two pods, and a pod elsewhere. */
export class ServiceWorld {
  readonly pair: MeshPair;
  readonly remoteApp: PodApp;
  readonly #remoteEngine: Engine;
  #step = 0;

  private constructor(pair: MeshPair, remoteApp: PodApp, remoteEngine: Engine) {
    this.pair = pair;
    this.remoteApp = remoteApp;
    this.#remoteEngine = remoteEngine;
  }

  /** Where the service's ports lead applications listen; the server's talks with the test. */
  static async start(test: Test): Promise<ServiceWorld> {
    const pair = await startNode(test);
    const path = await joinRemote(test, pair.client, remote.last);
    const engine = await enrolRemote(test, pair, remote.name, path);
    const app = new PodApp(path);
    test.teardown(() => app.stop());
    await app.tell(tells.target);
    await app.tell(refuses.target);
    await pair.serverPod.app.tell(tells.target);
    await pair.serverPod.app.listen(talks.target);
    return new ServiceWorld(pair, app, engine);
  }

  /** Resolves when the kernel picks by it. */
  async become(world: World): Promise<void> {
    this.#step += 1;
    const port = 1000 + this.#step;
    const key = `demo/marker-${this.#step}.demo.svc.cluster.local`;
    const bound = (is: boolean) => (is ? [binding(serviceKey, tells, talks, refuses)] : []);
    const east = {
      ...workloadOf('server'),
      ...{ uid: remote.name, name: remote.name, serviceAccount: remote.name },
      addresses: [
        Uint8Array.of(10, 9, 0, remote.last),
        Uint8Array.of(0xfd, 9, ...new Array<number>(13).fill(0), 0x11),
      ],
      services: bound(world.remote !== null),
      ...world.remote,
    };
    const delta = {
      workloads: [
        { ...workloadOf('client'), services: bound(world.isOwn === true), ...world.client },
        {
          ...workloadOf('server'),
          ...world.local,
          services: [...bound(world.local !== null), binding(key, { port, target: tells.target })],
        },
        east,
      ],
      services: [
        serviceOf(
          serviceKey,
          [bytesOf[vip.ipv4], bytesOf[vip.ipv6]],
          [tells.port, talks.port, refuses.port],
          {
            loadBalancing: world.balancing ?? {},
            waypoint: world.waypoint ?? false,
          },
        ),
        // An endpoint that is not ready will do: it is picked, not reached.
        serviceOf(key, [bytesOf[marker]], [port], { loadBalancing: { allowUnhealthy: true } }),
      ],
      policies: world.policies ?? [],
      removedPolicies: world.removedPolicies ?? [],
    };
    this.pair.apply(delta);
    this.#remoteEngine.apply({ workloads: [east] });
    for (const until = Date.now() + 5_000; Date.now() < until; ) {
      const before = countOf('service_picked');
      await this.pair.clientPod.app.connectEach(marker, port, 1);
      if (countOf('service_picked') > before) {
        return;
      }
    }
    throw new Error('the kernel does not pick');
  }
}
