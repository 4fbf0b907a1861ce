// SPDX-License-Identifier: Apache-2.0
// The server end of delta ADS: every stream follows the newest snapshot at its own pace.
import { type ServerDuplexStream, type ServiceDefinition, status } from '@grpc/grpc-js';
import { MeshError } from '../lib/error.ts';
import type { Logger } from '../lib/log.ts';
import { type Delta, DeltaCache, encodeResponses, splitPolicies } from './delta.ts';
import type { ResourceSet } from './encode.ts';
import { Subscription } from './subscription.ts';
import {
  type DeltaDiscoveryRequest,
  deltaMethod,
  isTypeUrl,
  requiredTypes,
  type TypeUrl,
  typeOrder,
  typeUrls,
} from './wire.ts';

/** A stream of the one method. Responses are written as bytes that were encoded before. */
export type DeltaStream = ServerDuplexStream<DeltaDiscoveryRequest, Buffer>;

/** What the server needs from its surroundings. */
export interface AdsServerOptions {
  readonly log: Logger;
  /**
   * Who is at the other end, for the log; undefined when it may not use the service, which refuses
   * the stream with UNAUTHENTICATED.
   */
  readonly callerOf: (stream: DeltaStream) => string | undefined;
}

/** Counts since the start of the process. */
export interface AdsCounts {
  streams: number;
  responses: number;
  resources: number;
  nacks: number;
}

/** Most streams at one time. */
export const streamsMax = 20_000;

/** Longest text of a client's complaint that goes to the log. */
const complaintCharactersMax = 1_000;

/** The definition to register the service with. */
export const adsService: ServiceDefinition = {
  DeltaAggregatedResources: { ...deltaMethod, responseSerialize: (bytes: Buffer) => bytes },
};

/** The resources of some types. */
export type PublishedSets = Readonly<Partial<Record<TypeUrl, ResourceSet>>>;

/** Who took one revision of one type, by the names of the callers. */
export interface Acknowledgement {
  /** Took this revision, or a later one, without complaint. */
  readonly acked: readonly string[];
  /** Asked for the type, and did not take the revision yet or refused it. */
  readonly waiting: readonly string[];
  /** Did not ask for the type. */
  readonly others: readonly string[];
}

interface PublishedSet {
  readonly set: ResourceSet;
  /** When it came to be. */
  readonly revision: number;
}

type Published = ReadonlyMap<TypeUrl, PublishedSet>;

const emptySet: PublishedSet = { set: new Map(), revision: 0 };

interface StreamContext {
  readonly caller: string;
  readonly log: Logger;
  readonly cache: DeltaCache;
  readonly counts: AdsCounts;
  readonly newest: () => Published;
}

interface Change {
  readonly subscription: Subscription;
  readonly delta: Delta;
  readonly owed: boolean;
  readonly revision: number;
}

// One stream. A change of the snapshot only marks it; it goes from what it has to the newest
// snapshot when its transport has room, so nothing queues up for a slow client.
class AdsStream {
  readonly #stream: DeltaStream;
  readonly #context: StreamContext;
  readonly #subscriptions: Map<TypeUrl, Subscription> = new Map();
  #nonce = 0;
  #pumping = false;
  #again = false;
  #ended = false;

  constructor(stream: DeltaStream, context: StreamContext) {
    this.#stream = stream;
    this.#context = context;
  }

  request(request: DeltaDiscoveryRequest): void {
    const { typeUrl } = request;
    if (!isTypeUrl(typeUrl)) {
      this.#context.log.warn({ caller: this.#context.caller, typeUrl }, 'unknown resource type');
      return;
    }
    const known = this.#subscriptions.get(typeUrl);
    if (known === undefined) {
      this.#subscriptions.set(typeUrl, new Subscription(request));
      this.push();
      return;
    }
    const outcome = known.request(request);
    if (outcome.kind === 'nack') {
      this.#context.counts.nacks += 1;
      const complaint = outcome.message.slice(0, complaintCharactersMax);
      const { caller } = this.#context;
      this.#context.log.warn({ caller, typeUrl, complaint }, 'client refused resources');
    } else if (outcome.kind === 'answer') {
      this.push();
    }
  }

  /** Brings the client up to date, now or when what is being sent has gone out. */
  push(): void {
    this.#again = true;
    if (!this.#pumping && !this.#ended) {
      this.#pumping = true;
      void this.#pump();
    }
  }

  get caller(): string {
    return this.#context.caller;
  }

  end(): void {
    this.#ended = true;
  }

  /** Ends the stream from this side. */
  close(): void {
    this.#stream.emit('error', { code: status.UNAVAILABLE, details: 'shutting down' });
  }

  async #pump(): Promise<void> {
    try {
      while (this.#again && !this.#ended) {
        this.#again = false;
        await this.#sendAll(this.#context.newest());
      }
    } catch (thrown) {
      const { message } = MeshError.from(thrown);
      this.#context.log.error({ caller: this.#context.caller, message }, 'push failed');
      this.#stream.destroy();
    } finally {
      this.#pumping = false;
    }
  }

  // In order of the types, but what policies lose they lose after the addresses changed.
  async #sendAll(published: Published): Promise<void> {
    let after: (() => Promise<void>) | undefined;
    for (const typeUrl of typeOrder) {
      const before = this.#subscriptions.get(typeUrl)?.has ?? new Map();
      const change = this.#take(typeUrl, published.get(typeUrl) ?? emptySet);
      if (change === undefined) {
        continue;
      }
      if (typeUrl !== typeUrls.authorization) {
        await this.#send(typeUrl, change.delta, change);
        continue;
      }
      const { first, last } = splitPolicies(change.delta, before);
      await this.#send(typeUrl, first, change);
      after = () => this.#send(typeUrl, last, { ...change, owed: false });
    }
    await after?.();
  }

  #take(typeUrl: TypeUrl, { set, revision }: PublishedSet): Change | undefined {
    const subscription = this.#subscriptions.get(typeUrl);
    if (subscription?.needs(set) !== true) {
      return undefined;
    }
    const owed = subscription.owesAnswer;
    const delta = subscription.advance(set, this.#context.cache);
    return { subscription, delta, owed, revision };
  }

  /** Which revision of a type the client took whole; undefined when it did not ask for the type. */
  acked(typeUrl: TypeUrl): number | undefined {
    const subscription = this.#subscriptions.get(typeUrl);
    return subscription === undefined ? undefined : (subscription.acked ?? -1);
  }

  async #send(
    typeUrl: TypeUrl,
    delta: Delta,
    { subscription, owed, revision }: Change,
  ): Promise<void> {
    const { counts, log, caller } = this.#context;
    const nextNonce = (): string => {
      this.#nonce += 1;
      const nonce = String(this.#nonce);
      subscription.sent(nonce, revision);
      return nonce;
    };
    for (const response of encodeResponses(typeUrl, delta, nextNonce, owed)) {
      if (this.#ended) {
        return;
      }
      counts.responses += 1;
      await this.#write(response);
    }
    counts.resources += delta.changed.length;
    const sizes = { changed: delta.changed.length, removed: delta.removed.length };
    log.debug({ caller, typeUrl, ...sizes }, 'pushed');
  }

  // Resolves when the transport has taken the message, or the stream is over: one is under way.
  #write(response: Buffer): Promise<void> {
    return new Promise((resolve) => {
      const done = (): void => {
        this.#stream.off('close', done);
        this.#stream.off('cancelled', done);
        resolve();
      };
      this.#stream.on('close', done);
      this.#stream.on('cancelled', done);
      this.#stream.write(response, done);
    });
  }
}

/** The delta ADS service over one sequence of snapshots. */
export class AdsServer {
  readonly #options: AdsServerOptions;
  readonly #streams: Set<AdsStream> = new Set();
  readonly #cache: DeltaCache = new DeltaCache();
  readonly #counts: AdsCounts = { streams: 0, responses: 0, resources: 0, nacks: 0 };
  #published: Published = new Map();
  #revision = 0;

  constructor(options: AdsServerOptions) {
    this.#options = options;
  }

  /** Counts since the start; `streams` is how many are open. */
  get counts(): Readonly<AdsCounts> {
    return { ...this.#counts, streams: this.#streams.size };
  }

  /**
   * Makes these sets the newest of their types and sends the changes to every stream. Types that
   * are left out stay as they are. Returns the revision, for `ackedBy`. Streams are refused until
   * every required type was published.
   */
  publish(sets: PublishedSets): number {
    this.#revision += 1;
    const published = new Map(this.#published);
    for (const typeUrl of typeOrder) {
      const set = sets[typeUrl];
      if (set !== undefined) {
        published.set(typeUrl, { set, revision: this.#revision });
      }
    }
    this.#published = published;
    for (const stream of this.#streams) {
      stream.push();
    }
    return this.#revision;
  }

  /** Which of the open streams took a revision of a type. */
  ackedBy(typeUrl: TypeUrl, revision: number): Acknowledgement {
    const streams = Map.groupBy(this.#streams, (stream) => {
      const acked = stream.acked(typeUrl);
      return acked === undefined ? 'others' : acked >= revision ? 'acked' : 'waiting';
    });
    const callers = (group: keyof Acknowledgement): string[] =>
      (streams.get(group) ?? []).map(({ caller }) => caller);
    return { acked: callers('acked'), waiting: callers('waiting'), others: callers('others') };
  }

  /** Ends every stream, so that clients look for another server, or for this one again later. */
  close(): void {
    for (const stream of this.#streams) {
      stream.close();
    }
  }

  /** The handlers for `Server.addService`. */
  readonly handlers: { DeltaAggregatedResources: (stream: DeltaStream) => void } = {
    DeltaAggregatedResources: (stream) => this.#open(stream),
  };

  #open(stream: DeltaStream): void {
    const caller = this.#options.callerOf(stream);
    const refuse = (code: status, details: string): void => {
      stream.emit('error', { code, details });
    };
    if (caller === undefined) {
      refuse(status.UNAUTHENTICATED, 'a node certificate is needed');
      return;
    }
    if (!requiredTypes.every((typeUrl) => this.#published.has(typeUrl))) {
      // An empty answer would make a restarted client forget all it knows.
      refuse(status.UNAVAILABLE, 'not ready');
      return;
    }
    if (this.#streams.size >= streamsMax) {
      refuse(status.RESOURCE_EXHAUSTED, 'too many streams');
      return;
    }
    this.#serve(stream, caller);
  }

  #serve(stream: DeltaStream, caller: string): void {
    const { log } = this.#options;
    const ads = new AdsStream(stream, {
      caller,
      log,
      cache: this.#cache,
      counts: this.#counts,
      newest: () => this.#published,
    });
    const close = (): void => {
      ads.end();
      if (this.#streams.delete(ads)) {
        log.info({ caller }, 'stream closed');
      }
    };
    this.#streams.add(ads);
    log.info({ caller }, 'stream opened');
    stream.on('data', (request: DeltaDiscoveryRequest) => {
      try {
        ads.request(request);
      } catch (thrown) {
        const { message } = MeshError.from(thrown);
        log.warn({ caller, message }, 'stream refused');
        close();
        stream.emit('error', { code: status.RESOURCE_EXHAUSTED, details: message });
      }
    });
    stream.on('end', () => {
      close();
      stream.end();
    });
    stream.on('cancelled', close);
    stream.on('close', close);
    stream.on('error', close);
  }
}
