// SPDX-License-Identifier: Apache-2.0
// The thread that answers DNS, away from the one that applies configuration: neither waits for the
// other. It knows names and pods by messages, and nothing else of the mesh.
import { parentPort, workerData } from 'node:worker_threads';
import { bindAlone, type PodSocketKind, podSocket } from '../../native/pod-socket.ts';
import { MeshError } from '../../src/lib/error.ts';
import type { DnsPod, DnsReply, DnsRequest, DnsThreadData } from './messages.ts';
import { NameTable } from './names.ts';
import { PodServer } from './pod-server.ts';
import { Turns } from './turns.ts';
import { type Budget, Upstream } from './upstream.ts';

const { clusterDomain, mark } = workerData as DnsThreadData;
const names = new NameTable(clusterDomain);
const pods = new Map<string, PodServer>();
const budget: Budget = { outstanding: 0 };
const turns = new Turns();

function tell(reply: DnsReply): void {
  parentPort?.postMessage(reply);
}

async function add(pod: DnsPod): Promise<void> {
  const { uid, namespace, netns, nameservers } = pod;
  remove(uid);
  const open = (kind: PodSocketKind, address: string, port: number): number =>
    podSocket(kind, { netns, address, port, mark });
  const server = new PodServer({
    names,
    namespace,
    upstream: new Upstream(nameservers, open, budget),
    turns,
    open,
    bind: bindAlone,
    onError: (error) => tell({ kind: 'trouble', uid, reason: error.message }),
  });
  await server.open();
  pods.set(uid, server);
}

function remove(uid: string): void {
  pods.get(uid)?.close();
  pods.delete(uid);
}

async function carryOut(request: DnsRequest): Promise<void> {
  if (request.kind === 'names') {
    names.apply(request.changes);
    return;
  }
  const { ticket } = request;
  const counts = new Map(
    request.kind === 'counts' ? [...pods].map(([uid, server]) => [uid, server.counts]) : [],
  );
  try {
    if (request.kind === 'add') {
      await add(request.pod);
    } else if (request.kind === 'remove') {
      remove(request.uid);
    }
    tell({ kind: 'done', ticket, error: '', counts });
  } catch (error) {
    tell({ kind: 'done', ticket, error: MeshError.from(error).message || 'failed', counts });
  }
}

// One after the other: an add that waits for its sockets is not overtaken by its removal.
let tail: Promise<void> = Promise.resolve();
parentPort?.on('message', (request: DnsRequest) => {
  tail = tail.then(() => carryOut(request));
});
