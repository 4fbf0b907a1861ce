// SPDX-License-Identifier: Apache-2.0
// A process that holds delta streams to a control plane and says when what arrives: the parent
// measures, so that neither end measures itself.
import { typeUrls } from '../../xds/wire.ts';
import { type Arrival, type ClientMaterial, MeasuredStream, nowNs } from './stream.ts';

/** What the parent asks for. Times are of the monotonic clock, which all processes share. */
export type ClientOrder =
  | { readonly kind: 'connect'; readonly address: string; readonly material: ClientMaterial }
  | { readonly kind: 'open'; readonly streams: number; readonly resources: number }
  | { readonly kind: 'watch' }
  | { readonly kind: 'close' };

/** What one stream saw. */
export interface StreamTimes {
  /** When it began, and when it had everything that there was; nanoseconds. */
  readonly startNs: number;
  readonly endNs: number;
  readonly resources: number;
  readonly bytes: number;
}

/**
 * Answers to the parent: of `open` once all streams have all resources, of `watch` once each got a
 * push. There is one at each order; `watch` is answered twice, first when it has begun.
 */
export interface ClientAnswer {
  readonly streams: readonly StreamTimes[];
}

let connect: () => Promise<MeasuredStream> = () => Promise.reject(new RangeError('not connected'));
let streams: MeasuredStream[] = [];

// Resolves when so many resources have come.
function arrivalsOf(stream: MeasuredStream, resources: number): Promise<StreamTimes> {
  const startNs = nowNs();
  const sum = { resources: 0, bytes: 0 };
  return new Promise((resolve) => {
    stream.onArrival(({ ns: endNs, ...arrival }: Arrival) => {
      sum.resources += arrival.resources;
      sum.bytes += arrival.bytes;
      if (sum.resources >= resources) {
        stream.onArrival(() => undefined);
        resolve({ startNs, endNs, ...sum });
      }
    });
  });
}

function subscribed(stream: MeasuredStream, resources: number): Promise<StreamTimes> {
  const all = arrivalsOf(stream, resources);
  stream.subscribe(typeUrls.authorization);
  stream.subscribe(typeUrls.address);
  return all;
}

async function obey(order: ClientOrder): Promise<readonly StreamTimes[]> {
  switch (order.kind) {
    case 'connect':
      connect = () => MeasuredStream.open(order.address, order.material);
      return [];
    case 'open': {
      // Connections are made, with their handshakes, before anything is measured.
      const fresh = await Promise.all(Array.from({ length: order.streams }, connect));
      streams.push(...fresh);
      return await Promise.all(fresh.map((stream) => subscribed(stream, order.resources)));
    }
    case 'watch':
      return await Promise.all(streams.map((stream) => arrivalsOf(stream, 1)));
    case 'close':
      for (const stream of streams) {
        stream.close();
      }
      streams = [];
      return [];
  }
}

process.on('message', (order: ClientOrder) => {
  void obey(order).then((times) => process.send?.({ streams: times } satisfies ClientAnswer));
  if (order.kind === 'watch') {
    process.send?.({ streams: [] } satisfies ClientAnswer);
  }
});
