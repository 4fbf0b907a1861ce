// SPDX-License-Identifier: Apache-2.0
// The server end of one stream: it brings its client from what it has to the newest state.
import { type ServerDuplexStream, status } from '@grpc/grpc-js';
import { MeshError } from '../lib/error.ts';
import type { Logger } from '../lib/log.ts';
import type { EncodedResponse, ResponseEncoder } from './responses.ts';
import type { ResourceStore } from './store.ts';
import { type Complaint, Subscription } from './subscription.ts';
import { type DeltaDiscoveryRequest, isTypeUrl, type TypeUrl, typeOrder } from './wire.ts';

/** A stream of the one method. Responses are written as bytes that were encoded before. */
export type DeltaStream = ServerDuplexStream<DeltaDiscoveryRequest, Buffer>;

/** Who is at the other end. */
export interface Caller {
  /** Its identity; also for the log. */
  readonly name: string;
  /** The serial number of the certificate it showed, as deny lists write it. */
  readonly serial: string;
  /** The node it stands for; empty when it stands for none. */
  readonly node: string;
}

/** Counts since the start of the process. */
export interface AdsCounts {
  streams: number;
  responses: number;
  resources: number;
  bytes: number;
  nacks: number;
  /** Streams that were ended because their clients did not answer. */
  unanswered: number;
}

/** What all streams of a server share. */
export interface StreamContext {
  readonly log: Logger;
  readonly stores: ReadonlyMap<TypeUrl, ResourceStore>;
  readonly encoder: ResponseEncoder;
  readonly counts: AdsCounts;
  /** How long a client may take to receive and answer a response. */
  readonly answerMs: number;
}

/** One type on one stream, for those who look after the mesh. */
export interface SubscriptionStatus {
  readonly type: TypeUrl;
  /** How many names were asked for; undefined: everything. */
  readonly names: number | undefined;
  /** The revision that was sent, and the one that was taken; undefined before the first. */
  readonly sent: number | undefined;
  readonly acked: number | undefined;
  readonly newest: number;
  readonly nacks: number;
  readonly complaint: Complaint | undefined;
}

/** One stream, for those who look after the mesh. */
export interface StreamStatus {
  readonly caller: Caller;
  readonly since: Date;
  readonly subscriptions: readonly SubscriptionStatus[];
}

/** Longest type URL that goes to the log, in characters. */
const typeCharactersMax = 200;

interface Push {
  readonly subscription: Subscription;
  readonly responses: readonly EncodedResponse[];
  readonly last: readonly EncodedResponse[];
}

/**
 * One stream. A change of the mesh only marks it; it goes from what it has to the newest state
 * when its client has answered what was sent before, so nothing queues up for a slow client.
 */
export class AdsStream {
  readonly caller: Caller;
  readonly #stream: DeltaStream;
  readonly #context: StreamContext;
  readonly #since = new Date();
  readonly #subscriptions: Map<TypeUrl, Subscription> = new Map();
  #warned = false;
  #pumping = false;
  #again = false;
  #ended = false;
  // Ends the wait for the client; undefined when nobody waits.
  #wake: (() => void) | undefined;
  #deadline: NodeJS.Timeout | undefined;

  constructor(stream: DeltaStream, caller: Caller, context: StreamContext) {
    this.#stream = stream;
    this.caller = caller;
    this.#context = context;
  }

  /** Takes a request. Throws MeshError `limit` when it subscribes to too much. */
  request(request: DeltaDiscoveryRequest): void {
    const { typeUrl } = request;
    const { log, counts } = this.#context;
    const store = isTypeUrl(typeUrl) ? this.#context.stores.get(typeUrl) : undefined;
    if (!isTypeUrl(typeUrl) || store === undefined) {
      this.#warnOfType(typeUrl);
      return;
    }
    const known = this.#subscriptions.get(typeUrl);
    if (known === undefined) {
      this.#subscriptions.set(typeUrl, new Subscription(request, store, this.caller.node));
      this.push();
      return;
    }
    const outcome = known.request(request, new Date());
    if (outcome.kind === 'nack') {
      counts.nacks += 1;
      const { message: complaint } = outcome;
      log.warn({ caller: this.caller.name, typeUrl, complaint }, 'client refused resources');
    } else if (outcome.kind === 'answer') {
      this.push();
    }
  }

  // Once for a stream: a client may say as many as it likes.
  #warnOfType(unknown: string): void {
    if (!this.#warned) {
      this.#warned = true;
      const typeUrl = unknown.slice(0, typeCharactersMax);
      this.#context.log.warn({ caller: this.caller.name, typeUrl }, 'unknown resource type');
    }
  }

  /** Brings the client up to date, now or when what is under way has been answered. */
  push(): void {
    this.#again = true;
    if (!this.#pumping && !this.#ended) {
      this.#pumping = true;
      void this.#pump();
    }
  }

  /** Which revision of a type the client took; undefined when it did not ask for the type. */
  acked(typeUrl: TypeUrl): number | undefined {
    const subscription = this.#subscriptions.get(typeUrl);
    return subscription === undefined ? undefined : (subscription.acked ?? -1);
  }

  /** How the stream stands. */
  get status(): StreamStatus {
    const subscriptions = Array.from(this.#subscriptions, ([type, subscription]) => {
      const { names, at: sent, acked, nacks, complaint } = subscription;
      const newest = this.#context.stores.get(type)?.revision ?? 0;
      return { type, names, sent, acked, newest, nacks, complaint };
    });
    return { caller: this.caller, since: this.#since, subscriptions };
  }

  /** Notes that the stream is over. */
  end(): void {
    this.#ended = true;
    clearTimeout(this.#deadline);
    this.#wake?.();
  }

  /** Ends the stream from this side. */
  close(code: status, details: string): void {
    this.#stream.emit('error', { code, details });
  }

  async #pump(): Promise<void> {
    try {
      while (this.#again && !this.#ended) {
        this.#again = false;
        await this.#pushAll();
      }
    } catch (thrown) {
      const { message } = MeshError.from(thrown);
      this.#context.log.error({ caller: this.caller.name, message }, 'push failed');
      this.#stream.destroy();
    } finally {
      this.#pumping = false;
    }
  }

  // All types as of one moment, in their order, each when the one before it is in force at the
  // client, so that no client learns of a workload before the rule that protects it. What policies
  // lose they lose after the addresses changed.
  async #pushAll(): Promise<void> {
    const pushes = typeOrder.flatMap((typeUrl) => this.#take(typeUrl) ?? []);
    for (const { subscription, responses, last } of pushes) {
      await this.#send(subscription, responses);
      if (last.length === 0) {
        this.#settle(subscription);
      }
    }
    for (const { subscription, last } of pushes.filter((push) => push.last.length > 0)) {
      await this.#send(subscription, last);
      this.#settle(subscription);
    }
  }

  #settle(subscription: Subscription): void {
    if (!this.#ended) {
      subscription.settle();
    }
  }

  #take(typeUrl: TypeUrl): Push | undefined {
    const { encoder, counts, log, stores } = this.#context;
    const subscription = this.#subscriptions.get(typeUrl);
    const store = stores.get(typeUrl);
    if (subscription?.needs !== true || store === undefined || this.#ended) {
      return undefined;
    }
    if (!subscription.reachesBack) {
      this.close(status.ABORTED, 'too far behind: come back with the versions you have');
      return undefined;
    }
    const owed = subscription.owesAnswer;
    const delta = subscription.isShared
      ? encoder.between(typeUrl, subscription.at, store)
      : encoder.alone(typeUrl, subscription.missing());
    subscription.advance();
    counts.resources += delta.changed;
    const sizes = { changed: delta.changed, removed: delta.removed };
    log.debug({ caller: this.caller.name, typeUrl, ...sizes }, 'push');
    const isOwed = owed && delta.responses.length === 0;
    const nothing = { changed: [], removed: [] };
    const responses = isOwed ? encoder.encode(typeUrl, nothing, true) : delta.responses;
    return { subscription, responses, last: delta.last };
  }

  // Resolves when the client has answered all of it, or the stream is over.
  async #send(subscription: Subscription, responses: readonly EncodedResponse[]): Promise<void> {
    if (responses.length === 0) {
      return;
    }
    const { counts } = this.#context;
    const landed = subscription.fly(responses);
    for (const [at, { bytes }] of responses.entries()) {
      if (this.#ended) {
        return;
      }
      counts.responses += 1;
      counts.bytes += bytes.length;
      if (at < responses.length - 1) {
        await this.#inTime((taken) => this.#stream.write(bytes, taken));
      } else {
        // Its answer says that it was taken.
        this.#stream.write(bytes);
      }
    }
    await this.#inTime((answered) => void landed.then(answered));
  }

  // Resolves with the step, when the stream is over, or after ending it because it took too long.
  async #inTime(begin: (done: () => void) => void): Promise<void> {
    if (this.#ended) {
      return;
    }
    // One timer for the life of the stream: it is wound up for each step, and idle in between.
    this.#deadline ??= setTimeout(() => this.#expire(), this.#context.answerMs);
    this.#deadline.refresh();
    await new Promise<void>((resolve) => {
      this.#wake = resolve;
      begin(resolve);
    });
    this.#wake = undefined;
  }

  #expire(): void {
    if (this.#wake === undefined) {
      return;
    }
    const { answerMs, counts, log } = this.#context;
    counts.unanswered += 1;
    log.warn({ caller: this.caller.name }, 'client does not answer');
    this.close(status.DEADLINE_EXCEEDED, `no answer within ${answerMs} ms`);
    this.end();
  }
}
