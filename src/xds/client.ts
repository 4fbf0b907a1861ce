// SPDX-License-Identifier: Apache-2.0
// The client end of delta xDS over ADS: one stream for all types, kept up for ever.
import type { MessageInitShape } from '@bufbuild/protobuf';
import {
  type ChannelCredentials,
  type ChannelOptions,
  Client,
  type ClientDuplexStream,
  type ServiceError,
  status,
} from '@grpc/grpc-js';
import { Backoff } from '../lib/backoff.ts';
import { MeshError } from '../lib/error.ts';
import type { Logger } from '../lib/log.ts';
import {
  type Bodies,
  type DeltaDiscoveryRequest,
  type DeltaDiscoveryRequestSchema,
  type DeltaDiscoveryResponse,
  deltaMethod,
  deltaRequest,
  messageBytesMax,
  parseBody,
  type Resource,
  requiredTypes,
  type TypeUrl,
  typeOrder,
} from './wire.ts';

/** What one response changed of one type, decoded. Names are resource names. */
export interface UpdateOf<T extends TypeUrl> {
  readonly type: T;
  readonly changed: ReadonlyMap<string, Bodies[T]>;
  readonly removed: readonly string[];
  /** Resources that came but cannot be read. They are rejected whatever the handler says. */
  readonly broken: readonly string[];
}

/** What one response changed. `type` says of which type. */
export type Update = { [T in TypeUrl]: UpdateOf<T> }[TypeUrl];

/**
 * Takes one update and returns the resources it could not take, with a sentence each. They are
 * named to the server (NACK); the rest of the update is in force.
 */
export type UpdateHandler = (update: Update) => ReadonlyMap<string, string>;

/** Resources of one type that are in force from now on, and names that are not any more. */
export interface Taken {
  readonly type: TypeUrl;
  /** With versions and encoded bodies, for a process that comes after this one. */
  readonly resources: readonly Resource[];
  readonly removed: readonly string[];
}

/** How a connection is secured. The options are those that belong to the credentials. */
export interface SecureChannel {
  readonly credentials: ChannelCredentials;
  readonly options: ChannelOptions;
}

/** What was counted since the start. */
export interface XdsCounts {
  /** Streams that ended, by reason. */
  readonly terminations: ReadonlyMap<string, number>;
  /** Responses and the bytes of their resources, by type. */
  readonly messages: ReadonlyMap<string, number>;
  readonly bytes: ReadonlyMap<string, number>;
  /** Resources that were refused by name. */
  readonly rejected: number;
}

/** Settings of one client. */
export interface XdsClientOptions {
  /** "host:port" of the control plane. */
  readonly address: string;
  /** Node.id of the first request of each type. */
  readonly nodeId: string;
  readonly nodeMetadata: Readonly<Record<string, string>>;
  /** The types to ask for, which are those that `onUpdate` takes. */
  readonly types: readonly TypeUrl[];
  /** Asked at each connection, so that a renewed certificate is used from the next one on. */
  readonly channel: () => SecureChannel;
  readonly onUpdate: UpdateHandler;
  /** Told after each update what of it is in force. */
  readonly onTaken?: (taken: Taken) => void;
  /** Called once, when `synced` becomes true. */
  readonly onSynced: () => void;
  readonly log: Logger;
}

/** Longest `error_detail` that is sent, in characters. */
export const errorDetailCharactersMax = 4096;

/** Longest reason in it for one resource, so that it does not take the place of others' names. */
export const reasonCharactersMax = 256;

/** A stream that lasted so long was good, and its end is followed by a new one without a wait. */
export const goodStreamMs = 1_000;

const channelOptions = {
  'grpc.max_receive_message_length': messageBytesMax,
  'grpc.max_send_message_length': messageBytesMax,
  'grpc.keepalive_time_ms': 30_000,
  'grpc.keepalive_timeout_ms': 10_000,
  // Each attempt brings its own certificate, so no connection is ever shared.
  'grpc.use_local_subchannel_pool': 1,
  'grpc.enable_retries': 0,
  'grpc.enable_http_proxy': 0,
};

type Content = Pick<DeltaDiscoveryResponse, 'removedResources'> & {
  readonly resources: readonly Resource[];
};

type Stream = ClientDuplexStream<DeltaDiscoveryRequest, DeltaDiscoveryResponse>;

interface Decoded<T extends TypeUrl> {
  readonly changed: Map<string, Bodies[T]>;
  readonly rejected: Map<string, string>;
}

function decode<T extends TypeUrl>(type: T, resources: readonly Resource[]): Decoded<T> {
  const changed = new Map<string, Bodies[T]>();
  const rejected = new Map<string, string>();
  for (const { name, resource } of resources) {
    if (resource?.typeUrl !== type) {
      rejected.set(name, `is a ${resource?.typeUrl ?? 'nothing'}`);
      continue;
    }
    const parsed = parseBody(type, resource.value);
    if (parsed.ok) {
      changed.set(name, parsed.value);
    } else {
      rejected.set(name, parsed.error.message);
    }
  }
  return { changed, rejected };
}

function add(counts: Map<string, number>, key: string, amount: number): void {
  counts.set(key, (counts.get(key) ?? 0) + amount);
}

function bytesOf(resources: readonly Resource[]): number {
  return resources.reduce((sum, { resource }) => sum + (resource?.value.length ?? 0), 0);
}

function sentenceOf(rejected: ReadonlyMap<string, string>): string {
  const all = Array.from(
    rejected,
    ([name, reason]) => `${name}: ${reason.slice(0, reasonCharactersMax)}`,
  ).join('; ');
  return all.length <= errorDetailCharactersMax
    ? all
    : `${all.slice(0, errorDetailCharactersMax - 3)}...`;
}

/**
 * Keeps one delta ADS stream to the control plane, reconnecting for ever with backoff (10 ms to
 * 15 s). After a reconnect it names the versions it holds, so that only changes come. What was
 * delivered stays in force while the server is away.
 */
export class XdsClient {
  readonly #options: XdsClientOptions;
  readonly #types: readonly TypeUrl[];
  readonly #versions: ReadonlyMap<TypeUrl, Map<string, string>>;
  readonly #backoff = new Backoff({ firstMs: 10, maxMs: 15_000, jitter: 0.2 });
  readonly #answered = new Set<TypeUrl>();
  readonly #terminations = new Map<string, number>();
  readonly #messages = new Map<string, number>();
  readonly #bytes = new Map<string, number>();
  #rejected = 0;
  #syncReported = false;
  #live = false;
  #openedAt = performance.now();
  #client: Client | undefined;
  #stream: Stream | undefined;
  #timer: NodeJS.Timeout | undefined;
  #closed = false;

  constructor(options: XdsClientOptions) {
    this.#options = options;
    this.#types = typeOrder.filter((type) => options.types.includes(type));
    this.#versions = new Map(this.#types.map((type) => [type, new Map()]));
  }

  /** True once every type that is asked for and that all servers have was answered. Sticky. */
  get synced(): boolean {
    return this.#types.every((type) => this.#answered.has(type) || !requiredTypes.includes(type));
  }

  /** What was counted since the start. */
  get counts(): XdsCounts {
    return {
      terminations: this.#terminations,
      messages: this.#messages,
      bytes: this.#bytes,
      rejected: this.#rejected,
    };
  }

  /** True while the stream is up and the server has answered on it. */
  get live(): boolean {
    return this.#live;
  }

  /**
   * Takes the resources that an earlier process had, as an update of each type in the usual order,
   * and names them to the server. Call it before `start`.
   */
  restore(saved: ReadonlyMap<TypeUrl, readonly Resource[]>): void {
    for (const type of this.#types) {
      const resources = saved.get(type);
      if (resources !== undefined) {
        this.#take(type, { resources, removedResources: [] });
      }
    }
  }

  /** Connects, and from then on reconnects by itself. */
  start(): void {
    this.#connect();
  }

  /** Drops the connection and makes a new one at once, with fresh credentials. */
  reconnect(): void {
    if (this.#closed) {
      return;
    }
    add(this.#terminations, 'Reconnect', 1);
    this.#disconnect();
    this.#backoff.reset();
    this.#connect();
  }

  /** Ends the stream for good. No callback comes after it. */
  close(): void {
    this.#closed = true;
    this.#disconnect();
  }

  #disconnect(): void {
    clearTimeout(this.#timer);
    const stream = this.#stream;
    this.#stream = undefined;
    this.#live = false;
    stream?.cancel();
    this.#client?.close();
    this.#client = undefined;
  }

  #connect(): void {
    const { address, channel } = this.#options;
    try {
      const { credentials, options } = channel();
      this.#client = new Client(address, credentials, { ...channelOptions, ...options });
    } catch (error) {
      this.#retry(MeshError.from(error).message);
      return;
    }
    this.#open(this.#client);
  }

  #open(client: Client): void {
    const stream = client.makeBidiStreamRequest(
      deltaMethod.path,
      deltaMethod.requestSerialize,
      deltaMethod.responseDeserialize,
    );
    this.#stream = stream;
    this.#openedAt = performance.now();
    stream.on('data', (response: DeltaDiscoveryResponse) => {
      if (stream === this.#stream) {
        this.#receive(response);
      }
    });
    const ended = (kind: 'Error' | 'Complete', reason: string): void => {
      if (stream === this.#stream) {
        add(this.#terminations, kind, 1);
        this.#retry(reason);
      }
    };
    stream.on('error', (error: ServiceError) =>
      ended('Error', `${status[error.code]}: ${error.details}`),
    );
    stream.on('end', () => ended('Complete', 'the server ended the stream'));
    // Policies first: the server answers in this order, so that no workload is known before the
    // rules that protect it.
    for (const type of this.#types) {
      this.#request(type);
    }
  }

  #request(type: TypeUrl): void {
    const { nodeId, nodeMetadata } = this.#options;
    this.#send({
      node: { id: nodeId, metadata: { ...nodeMetadata } },
      typeUrl: type,
      initialResourceVersions: Object.fromEntries(this.#versions.get(type) ?? []),
    });
  }

  #send(init: MessageInitShape<typeof DeltaDiscoveryRequestSchema>): void {
    this.#stream?.write(deltaRequest(init));
  }

  #retry(reason: string): void {
    this.#disconnect();
    // Not for a first answer: a server that breaks the stream right after it would be asked for
    // everything again and again, without a pause.
    if (performance.now() - this.#openedAt >= goodStreamMs) {
      this.#backoff.reset();
    }
    const waitMs = Math.round(this.#backoff.next());
    this.#options.log.warn({ waitMs, reason }, 'xds stream is down');
    this.#timer = setTimeout(() => this.#connect(), waitMs);
  }

  #receive(response: DeltaDiscoveryResponse): void {
    const type = this.#types.find((candidate) => candidate === response.typeUrl);
    if (type === undefined) {
      this.#send({
        typeUrl: response.typeUrl,
        responseNonce: response.nonce,
        errorDetail: { code: status.INVALID_ARGUMENT, message: 'this type was not asked for' },
      });
      return;
    }
    const { resources, removedResources } = response;
    add(this.#messages, type, 1);
    add(this.#bytes, type, bytesOf(resources));
    const counts = { type, changed: resources.length, removed: removedResources.length };
    this.#options.log.debug(counts, 'xds update');
    this.#live = true;
    this.#answer(response, this.#take(type, response));
    this.#answered.add(type);
    this.#reportSynced();
  }

  #take(type: TypeUrl, content: Content): ReadonlyMap<string, string> {
    const rejected = this.#deliver(type, content);
    this.#remember(type, content, rejected);
    return rejected;
  }

  #deliver<T extends TypeUrl>(type: T, response: Content): ReadonlyMap<string, string> {
    const { changed, rejected } = decode(type, response.resources);
    const update: UpdateOf<T> = {
      type,
      changed,
      removed: response.removedResources,
      broken: [...rejected.keys()],
    };
    // The compiler does not see that T is one of the members of the union.
    return new Map([...this.#options.onUpdate(update as unknown as Update), ...rejected]);
  }

  // A rejected resource keeps the version that is in force, so that a reconnect brings it again.
  #remember(type: TypeUrl, response: Content, rejected: ReadonlyMap<string, string>): void {
    const versions = this.#versions.get(type);
    const resources = response.resources.filter(({ name }) => !rejected.has(name));
    const removed = response.removedResources.filter((name) => !rejected.has(name));
    // First, so that a name that is both removed and sent counts as sent.
    for (const name of removed) {
      versions?.delete(name);
    }
    for (const { name, version } of resources) {
      versions?.set(name, version);
    }
    this.#options.onTaken?.({ type, resources, removed });
  }

  #answer(response: DeltaDiscoveryResponse, rejected: ReadonlyMap<string, string>): void {
    const { typeUrl, nonce } = response;
    this.#rejected += rejected.size;
    if (rejected.size === 0) {
      this.#send({ typeUrl, responseNonce: nonce });
      return;
    }
    const message = sentenceOf(rejected);
    this.#options.log.warn({ type: typeUrl, rejected: rejected.size, message }, 'xds nack');
    this.#send({
      typeUrl,
      responseNonce: nonce,
      errorDetail: { code: status.INVALID_ARGUMENT, message },
    });
  }

  #reportSynced(): void {
    if (this.synced && !this.#syncReported) {
      this.#syncReported = true;
      this.#options.onSynced();
    }
  }
}
