// SPDX-License-Identifier: Apache-2.0
// The thread that answers DNS, away from the one that applies configuration: neither waits for the
// other. It knows names and pods by messages, and nothing else of the mesh.
import { closeSync } from 'node:fs';
import { parentPort, workerData } from 'node:worker_threads';
import {
  bindAlone,
  checkPodSocket,
  duplicate,
  type PodSocketKind,
  podSocket,
  unshare,
} from '../../native/pod-socket.ts';
import { MeshError } from '../../src/lib/error.ts';
import { ports } from '../../src/lib/ports.ts';
import type { DnsPod, DnsReply, DnsRequest, DnsSockets, DnsThreadData } from './messages.ts';
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

// Sockets that are not what they should be are closed, as if none had come.
function usable(inherited: DnsSockets, netns: number): Map<string, number> {
  const good = new Map<string, number>();
  for (const [name, fd] of inherited) {
    const [kind, address = ''] = name.split(' ');
    try {
      checkPodSocket(fd, kind === 'udp' ? 'udp' : 'listen', { netns, address, port: ports.dns });
      good.set(name, fd);
    } catch {
      closeSync(fd);
    }
  }
  return good;
}

async function add(pod: DnsPod, inherited: DnsSockets): Promise<void> {
  const { uid, namespace, netns, nameservers } = pod;
  remove(uid);
  const open = (kind: PodSocketKind, address: string, port: number): number =>
    podSocket(kind, { netns, address, port, mark });
  const left = usable(inherited, netns);
  const server = new PodServer({
    names,
    namespace,
    upstream: new Upstream(nameservers, open, budget),
    turns,
    open,
    bind: bindAlone,
    unshare,
    inherited: left,
    onError: (error) => tell({ kind: 'trouble', uid, reason: error.message }),
  });
  try {
    await server.open();
  } finally {
    for (const fd of left.values()) {
      closeSync(fd);
    }
  }
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
  let sockets: DnsSockets = new Map();
  try {
    if (request.kind === 'add') {
      await add(request.pod, request.inherited);
    } else if (request.kind === 'sockets') {
      const own = pods.get(request.uid)?.sockets ?? new Map<string, number>();
      sockets = new Map([...own].map(([name, fd]) => [name, duplicate(fd)]));
    } else if (request.kind === 'remove') {
      remove(request.uid);
    }
    tell({ kind: 'done', ticket, error: '', counts, sockets });
  } catch (error) {
    const { message } = MeshError.from(error);
    tell({ kind: 'done', ticket, error: message || 'failed', counts, sockets });
  }
}

// One after the other: an add that waits for its sockets is not overtaken by its removal.
let tail: Promise<void> = Promise.resolve();
parentPort?.on('message', (request: DnsRequest) => {
  tail = tail.then(() => carryOut(request));
});
