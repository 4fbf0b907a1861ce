// SPDX-License-Identifier: Apache-2.0
// The server end of delta ADS: every stream follows the newest state at its own pace.
import { type ServiceDefinition, status } from '@grpc/grpc-js';
import { MeshError } from '../lib/error.ts';
import type { Logger } from '../lib/log.ts';
import type { ResourceChange } from './encode.ts';
import { ResponseEncoder } from './responses.ts';
import { ResourceStore } from './store.ts';
import {
  type AdsCounts,
  AdsStream,
  type Caller,
  type DeltaStream,
  type StreamStatus,
} from './stream.ts';
import {
  type DeltaDiscoveryRequest,
  deltaMethod,
  requiredTypes,
  type TypeUrl,
  typeOrder,
} from './wire.ts';

/** What the server needs from its surroundings. */
export interface AdsServerOptions {
  readonly log: Logger;
  /**
   * Who is at the other end; undefined when it may not use the service, which refuses the stream
   * with UNAUTHENTICATED.
   */
  readonly callerOf: (stream: DeltaStream) => Caller | undefined;
  /** Left out: `answerMsDefault`. */
  readonly answerMs?: number;
  /** Left out: `streamsMaxDefault`. */
  readonly streamsMax?: number;
}

/**
 * How long a client may take to receive and answer a response. Building the tables of a large
 * mesh takes seconds; one that takes longer is stuck, and is better off with a new stream.
 */
export const answerMsDefault = 30_000;

/** Most streams at one time. */
export const streamsMaxDefault = 20_000;

const unknownCaller = 'a node certificate is needed';
const tooManyStreams = 'too many streams';

/** The definition to register the service with. */
export const adsService: ServiceDefinition = {
  DeltaAggregatedResources: { ...deltaMethod, responseSerialize: (bytes: Buffer) => bytes },
};

/** Changes of some types, which belong together. */
export type Publication = Readonly<Partial<Record<TypeUrl, ResourceChange>>>;

/** Who took one revision of one type, by the names of the callers. */
export interface Acknowledgement {
  /** Took this revision, or a later one, without complaint. */
  readonly acked: readonly string[];
  /** Asked for the type, and did not take the revision yet or refused it. */
  readonly waiting: readonly string[];
  /** Did not ask for the type. */
  readonly others: readonly string[];
}

/** The delta ADS service over one sequence of changes. */
export class AdsServer {
  readonly #options: AdsServerOptions;
  readonly #streams: Set<AdsStream> = new Set();
  readonly #stores: ReadonlyMap<TypeUrl, ResourceStore>;
  readonly #published: Set<TypeUrl> = new Set();
  readonly #encoder: ResponseEncoder = new ResponseEncoder();
  readonly #counts: AdsCounts = {
    streams: 0,
    responses: 0,
    resources: 0,
    bytes: 0,
    nacks: 0,
    unanswered: 0,
  };
  #revision = 0;

  constructor(options: AdsServerOptions) {
    this.#options = options;
    this.#stores = new Map(typeOrder.map((typeUrl) => [typeUrl, new ResourceStore()]));
  }

  /** Counts since the start; `streams` is how many are open. */
  get counts(): Readonly<AdsCounts> {
    return { ...this.#counts, streams: this.#streams.size };
  }

  /** How each open stream stands. */
  get status(): readonly StreamStatus[] {
    return [...this.#streams].map((stream) => stream.status);
  }

  /**
   * Takes changes, and sends them to every stream that wants them. A resource that has its version
   * already is no change. Returns the revision, for `ackedBy`. Streams are refused until something
   * was published of every required type, be it nothing.
   */
  publish(publication: Publication): number {
    this.#revision += 1;
    this.#encoder.forget();
    for (const typeUrl of typeOrder) {
      const change = publication[typeUrl];
      if (change !== undefined) {
        this.#published.add(typeUrl);
        this.#stores.get(typeUrl)?.update(change, this.#revision);
      }
    }
    for (const stream of this.#streams) {
      stream.push();
    }
    return this.#revision;
  }

  /** Which of the open streams took a revision of a type. */
  ackedBy(typeUrl: TypeUrl, revision: number): Acknowledgement {
    // A publication that changed nothing has nothing to be taken.
    const needed = Math.min(revision, this.#stores.get(typeUrl)?.revision ?? 0);
    const streams = Map.groupBy(this.#streams, (stream) => {
      const acked = stream.acked(typeUrl);
      return acked === undefined ? 'others' : acked >= needed ? 'acked' : 'waiting';
    });
    const names = (group: keyof Acknowledgement): string[] =>
      (streams.get(group) ?? []).map(({ caller }) => caller.name);
    return { acked: names('acked'), waiting: names('waiting'), others: names('others') };
  }

  /**
   * Ends the streams of callers that may not use the service any more. They are told what a caller
   * is told that was never let in.
   */
  endDenied(isDenied: (caller: Caller) => boolean): void {
    for (const stream of [...this.#streams].filter(({ caller }) => isDenied(caller))) {
      const { name: caller, serial } = stream.caller;
      const reason = 'the caller is on the deny list';
      this.#options.log.warn({ caller, serial, reason }, 'stream ended');
      stream.end();
      stream.close(status.UNAUTHENTICATED, unknownCaller);
    }
  }

  /** Ends every stream, so that clients look for another server, or for this one again later. */
  close(): void {
    for (const stream of this.#streams) {
      stream.close(status.UNAVAILABLE, 'shutting down');
    }
  }

  /** The handlers for `Server.addService`. */
  readonly handlers: { DeltaAggregatedResources: (stream: DeltaStream) => void } = {
    DeltaAggregatedResources: (stream) => this.#open(stream),
  };

  #open(stream: DeltaStream): void {
    const { callerOf, streamsMax = streamsMaxDefault } = this.#options;
    const caller = callerOf(stream);
    const refuse = (code: status, details: string): void => {
      stream.emit('error', { code, details });
    };
    if (caller === undefined) {
      refuse(status.UNAUTHENTICATED, unknownCaller);
    } else if (!requiredTypes.every((typeUrl) => this.#published.has(typeUrl))) {
      // An empty answer would make a restarted client forget all it knows.
      refuse(status.UNAVAILABLE, 'not ready');
    } else if (this.#streams.size >= streamsMax && !this.#makeRoom()) {
      refuse(status.RESOURCE_EXHAUSTED, tooManyStreams);
    } else {
      this.#serve(stream, caller);
    }
  }

  // The oldest stream of the caller that has most of them goes: a node needs one, and none may keep
  // others out by opening many. False when nobody has a second one.
  #makeRoom(): boolean {
    const byCaller = Map.groupBy(this.#streams, ({ caller }) => caller.name);
    const [most] = [...byCaller.values()].sort((a, b) => b.length - a.length);
    const [oldest, second] = most ?? [];
    if (oldest === undefined || second === undefined) {
      return false;
    }
    const { name: caller } = oldest.caller;
    this.#options.log.warn({ caller, streams: most?.length }, 'too many streams: one is ended');
    oldest.end();
    oldest.close(status.RESOURCE_EXHAUSTED, tooManyStreams);
    return true;
  }

  #serve(stream: DeltaStream, caller: Caller): void {
    const { log } = this.#options;
    const ads = new AdsStream(stream, caller, {
      log,
      stores: this.#stores,
      encoder: this.#encoder,
      counts: this.#counts,
      answerMs: this.#options.answerMs ?? answerMsDefault,
    });
    const close = (): void => {
      ads.end();
      if (this.#streams.delete(ads)) {
        log.info({ caller: caller.name }, 'stream closed');
      }
    };
    this.#streams.add(ads);
    log.info({ caller: caller.name }, 'stream opened');
    stream.on('data', (request: DeltaDiscoveryRequest) => {
      try {
        ads.request(request);
      } catch (thrown) {
        const { message } = MeshError.from(thrown);
        log.warn({ caller: caller.name, message }, 'stream refused');
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
