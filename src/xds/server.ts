// SPDX-License-Identifier: Apache-2.0
// The server end of delta ADS: every stream follows the newest snapshot at its own pace.
import { type ServerDuplexStream, type ServiceDefinition, status } from '@grpc/grpc-js';
import { MeshError } from '../lib/error.ts';
import type { Logger } from '../lib/log.ts';
import { type Delta, DeltaCache, encodeResponses, splitPolicies } from './delta.ts';
import type { EncodedSnapshot } from './encode.ts';
import { Subscription } from './subscription.ts';
import { type DeltaDiscoveryRequest, deltaMethod, type TypeUrl, typeUrls } from './wire.ts';

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

const knownTypes: ReadonlySet<string> = new Set(Object.values(typeUrls));

function isTypeUrl(text: string): text is TypeUrl {
  return knownTypes.has(text);
}

/** The definition to register the service with. */
export const adsService: ServiceDefinition = {
  DeltaAggregatedResources: { ...deltaMethod, responseSerialize: (bytes: Buffer) => bytes },
};

interface StreamContext {
  readonly caller: string;
  readonly log: Logger;
  readonly cache: DeltaCache;
  readonly counts: AdsCounts;
  readonly newest: () => EncodedSnapshot;
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

  // Policies first, so that no client learns of a workload before the rule that protects it.
  async #sendAll(snapshot: EncodedSnapshot): Promise<void> {
    const policies = this.#subscriptions.get(typeUrls.authorization);
    const before = policies?.has ?? new Map();
    const change = this.#take(typeUrls.authorization, snapshot);
    if (change !== undefined) {
      const parts = splitPolicies(change.delta, before);
      await this.#send(typeUrls.authorization, parts.first, change.owed);
      await this.#sendAddresses(snapshot);
      await this.#send(typeUrls.authorization, parts.last, false);
    } else {
      await this.#sendAddresses(snapshot);
    }
  }

  async #sendAddresses(snapshot: EncodedSnapshot): Promise<void> {
    const change = this.#take(typeUrls.address, snapshot);
    if (change !== undefined) {
      await this.#send(typeUrls.address, change.delta, change.owed);
    }
  }

  #take(typeUrl: TypeUrl, snapshot: EncodedSnapshot): { delta: Delta; owed: boolean } | undefined {
    const subscription = this.#subscriptions.get(typeUrl);
    if (subscription?.needs(snapshot[typeUrl]) !== true) {
      return undefined;
    }
    const owed = subscription.owesAnswer;
    return { delta: subscription.advance(snapshot[typeUrl], this.#context.cache), owed };
  }

  async #send(typeUrl: TypeUrl, delta: Delta, evenIfEmpty: boolean): Promise<void> {
    const { counts, log, caller } = this.#context;
    const nextNonce = (): string => {
      this.#nonce += 1;
      return String(this.#nonce);
    };
    for (const response of encodeResponses(typeUrl, delta, nextNonce, evenIfEmpty)) {
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
  #snapshot: EncodedSnapshot | undefined;

  constructor(options: AdsServerOptions) {
    this.#options = options;
  }

  /** Counts since the start; `streams` is how many are open. */
  get counts(): Readonly<AdsCounts> {
    return { ...this.#counts, streams: this.#streams.size };
  }

  /** Makes a snapshot the newest and sends its changes to every stream. */
  publish(snapshot: EncodedSnapshot): void {
    this.#snapshot = snapshot;
    for (const stream of this.#streams) {
      stream.push();
    }
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
    const first = this.#snapshot;
    if (first === undefined) {
      // An empty answer would make a restarted client forget all it knows.
      refuse(status.UNAVAILABLE, 'not ready');
      return;
    }
    if (this.#streams.size >= streamsMax) {
      refuse(status.RESOURCE_EXHAUSTED, 'too many streams');
      return;
    }
    this.#serve(stream, caller, first);
  }

  #serve(stream: DeltaStream, caller: string, first: EncodedSnapshot): void {
    const { log } = this.#options;
    const ads = new AdsStream(stream, {
      caller,
      log,
      cache: this.#cache,
      counts: this.#counts,
      newest: () => this.#snapshot ?? first,
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
