// SPDX-License-Identifier: Apache-2.0
// The sockets of one pod by the names that they are handed over under.
import type { Listeners } from '../../native/index.ts';

/** Descriptors by name. Whoever holds it closes them. */
export type PodSockets = ReadonlyMap<string, number>;

const listenerPrefix = 'listener ';
const dnsPrefix = 'dns ';

/** Joins what the engine and the DNS proxy have of a pod. */
export function nameSockets(listeners: Listeners, dns: PodSockets): PodSockets {
  return new Map([
    ...Object.entries(listeners).map(([port, fd]) => [`${listenerPrefix}${port}`, fd] as const),
    ...[...dns].map(([name, fd]) => [`${dnsPrefix}${name}`, fd] as const),
  ]);
}

/** The engine's part of them. */
export function listenersOf(sockets: PodSockets): Listeners {
  const out: Record<number, number> = {};
  for (const [name, fd] of sockets) {
    const port = name.startsWith(listenerPrefix) ? Number(name.slice(listenerPrefix.length)) : 0;
    if (Number.isInteger(port) && port > 0 && port <= 0xffff) {
      out[port] = fd;
    }
  }
  return out;
}

/** The DNS proxy's part of them. */
export function dnsSocketsOf(sockets: PodSockets): PodSockets {
  return new Map(
    [...sockets]
      .filter(([name]) => name.startsWith(dnsPrefix))
      .map(([name, fd]) => [name.slice(dnsPrefix.length), fd]),
  );
}
