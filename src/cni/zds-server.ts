// SPDX-License-Identifier: Apache-2.0
// The agent's end of the node-local protocol (Istio's ZDS): pods go to the node proxy with a
// descriptor of their network namespace.
import { create } from '@bufbuild/protobuf';
import type { PacketHandlers, Packets } from '../../native/index.ts';
import { MeshError } from '../lib/error.ts';
import { WorkloadInfoSchema } from '../lib/gen/zds_pb.js';
import { parseIp } from '../lib/ip.ts';
import type { Logger } from '../lib/log.ts';
import type { MeshConfig } from '../lib/pod-settings.ts';
import { ZdsConnection } from './zds-connection.ts';

/**
 * Most connections at once: one proxy, its successor during a hand-over, and two before them that
 * still carry what they have. What has not said hello has to go first: whoever only connects must
 * not end a proxy.
 */
export const connectionsMax = 4;

/** A pod as the proxy is told about it. */
export interface ZdsPod {
  readonly uid: string;
  readonly name: string;
  readonly namespace: string;
  readonly serviceAccount: string;
  /** The addresses of its own resolvers. */
  readonly nameservers: readonly string[];
  /** An open descriptor of the pod's network namespace; it stays the caller's. */
  readonly netns: number;
}

/** What the server needs from outside. */
export interface ZdsServerParts {
  /** All enrolled pods; asked for when a proxy connects. */
  pods(): Promise<readonly ZdsPod[]>;
  /** A proxy said what counts for the whole mesh. */
  onMeshConfig(config: MeshConfig): void;
  readonly closeFd: (fd: number) => void;
  readonly log: Logger;
}

interface Proxy {
  readonly connection: ZdsConnection;
  /** Its snapshot has begun, so it may get single requests. */
  greeted: boolean;
  /**
   * What was added or removed (undefined) while its snapshot was being taken, by uid. The list of
   * pods may have it or not, so it is set over the list.
   */
  readonly meanwhile: Map<string, ZdsPod | undefined>;
  /** Its snapshot was acknowledged. */
  synced: boolean;
}

function addOf(pod: ZdsPod): Parameters<ZdsConnection['request']>[0] {
  const { uid, name, namespace, serviceAccount } = pod;
  const nameservers = pod.nameservers.flatMap((address) => parseIp(address) ?? []);
  const workloadInfo = create(WorkloadInfoSchema, { name, namespace, serviceAccount });
  return { case: 'add', value: { uid, workloadInfo, nameservers } };
}

function withChanges(
  listed: readonly ZdsPod[],
  changes: ReadonlyMap<string, ZdsPod | undefined>,
): ZdsPod[] {
  const byUid = new Map<string, ZdsPod | undefined>(listed.map((pod) => [pod.uid, pod]));
  for (const [uid, pod] of changes) {
    byUid.set(uid, pod);
  }
  return [...byUid.values()].filter((pod) => pod !== undefined);
}

/**
 * Serves the proxies of this node: a full snapshot to each new one, adds and deletions to all. Main
 * thread only.
 */
export class ZdsServer {
  readonly #parts: ZdsServerParts;
  // Oldest first.
  #proxies: Proxy[] = [];
  // Adds under way. The list of pods has them only after their ack.
  readonly #adding = new Map<string, ZdsPod>();

  constructor(parts: ZdsServerParts) {
    this.#parts = parts;
  }

  /** True while a proxy is connected that acknowledged its snapshot. */
  get ready(): boolean {
    return this.#proxies.some((proxy) => proxy.synced);
  }

  /**
   * Takes a new connection; give this to `listenPackets`. Over the limit one ends: the oldest of
   * those before it that have not said hello, or the oldest.
   */
  accept(packets: Packets): PacketHandlers {
    const { log, closeFd } = this.#parts;
    const connection = new ZdsConnection(packets, {
      onHello: () => void this.#greet(proxy),
      onMeshConfig: (config) => this.#parts.onMeshConfig(config),
      onClose: (reason) => {
        this.#proxies = this.#proxies.filter((other) => other !== proxy);
        log.info({ proxyPid: packets.pid, reason }, 'a node proxy disconnected');
      },
    });
    const proxy: Proxy = { connection, greeted: false, synced: false, meanwhile: new Map() };
    if (this.#proxies.length >= connectionsMax) {
      const silent = this.#proxies.find((other) => !other.connection.greeted);
      (silent ?? this.#proxies[0])?.connection.close('a newer proxy took its place');
    }
    this.#proxies.push(proxy);
    log.info({ proxyPid: packets.pid }, 'a node proxy connected');
    const handlers = connection.handlers();
    return {
      onMessage: (data, fds) => {
        handlers.onMessage(data, fds);
        fds.forEach(closeFd);
      },
      onClose: handlers.onClose,
    };
  }

  /**
   * Hands a pod to all proxies and resolves when all have answered and one has it; a proxy that comes meanwhile gets it
   * with its snapshot. One after the other, the oldest first: a successor takes the pod's sockets
   * from the proxy before it, and whichever of the two dies, the other has the pod. Those that only
   * carry what they have refuse it. One add for a uid at a time. Rejects with MeshError
   * `unavailable` when there is none, or as `ZdsConnection.request` does for the newest; the proxies
   * are then told to forget it.
   */
  async add(pod: ZdsPod): Promise<void> {
    const proxies = this.#proxies.filter((proxy) => proxy.greeted);
    this.#adding.set(pod.uid, pod);
    this.#noteForNew(pod.uid, pod);
    try {
      const errors: unknown[] = [];
      for (const { connection } of proxies) {
        await connection
          .request(addOf(pod), pod.netns)
          .catch((error: unknown) => errors.push(error));
      }
      if (errors.length === proxies.length) {
        throw errors.at(-1) ?? new MeshError('unavailable', 'no node proxy is connected');
      }
    } finally {
      this.#adding.delete(pod.uid);
    }
  }

  /** Takes a pod from all proxies. A proxy that refuses or is gone is logged, not waited for. */
  async remove(uid: string): Promise<void> {
    this.#noteForNew(uid, undefined);
    const told = this.#proxies.filter((proxy) => proxy.greeted);
    const answers = told.map((proxy) => proxy.connection.request({ case: 'del', value: { uid } }));
    for (const answer of await Promise.allSettled(answers)) {
      if (answer.status === 'rejected') {
        this.#parts.log.warn({ uid, reason: answer.reason.message }, 'a deletion failed');
      }
    }
  }

  /** Ends all connections. */
  close(): void {
    for (const proxy of this.#proxies) {
      proxy.connection.close('the agent stops');
    }
  }

  #noteForNew(uid: string, pod: ZdsPod | undefined): void {
    for (const { greeted, meanwhile } of this.#proxies) {
      if (!greeted) {
        meanwhile.set(uid, pod);
      }
    }
  }

  async #greet(proxy: Proxy): Promise<void> {
    const { log } = this.#parts;
    try {
      for (const [uid, pod] of this.#adding) {
        proxy.meanwhile.set(uid, pod);
      }
      const pods = withChanges(await this.#parts.pods(), proxy.meanwhile);
      proxy.meanwhile.clear();
      // From here on single requests queue behind the snapshot, so none is lost or overtaken.
      proxy.greeted = true;
      const adds = pods.map((pod) => proxy.connection.request(addOf(pod), pod.netns));
      const sent = proxy.connection.request({
        case: 'snapshotSent',
        value: { takesMeshConfig: true },
      });
      for (const add of await Promise.allSettled(adds)) {
        if (add.status === 'rejected') {
          // The proxy keeps it as pending and retries; the pod stays captured (fail-closed).
          log.error({ reason: add.reason.message }, 'a pod of the snapshot was refused');
        }
      }
      await sent;
      proxy.synced = true;
      log.info({ proxyPid: proxy.connection.pid, pods: pods.length }, 'snapshot acknowledged');
    } catch (error) {
      proxy.connection.close(MeshError.from(error).message);
    }
  }
}
