// SPDX-License-Identifier: Apache-2.0
// One resource type on one stream: what the client asked for, what it was sent, what it took.
import { MeshError } from '../lib/error.ts';
import type { EncodedResource } from './encode.ts';
import type { Delta, EncodedResponse } from './responses.ts';
import type { ResourceStore } from './store.ts';
import type { DeltaDiscoveryRequest } from './wire.ts';

/** Most names that one stream may subscribe to one by one. */
export const subscribedNamesMax = 100_000;

/** Longest text of a client's complaint that is kept, in characters. */
export const complaintCharactersMax = 1_000;

const wildcard = '*';

/** What became of a request. */
export type RequestOutcome =
  | { readonly kind: 'answer' } // the client must get a response, even an empty one
  | { readonly kind: 'quiet' } // an ACK, or nothing at all
  | { readonly kind: 'nack'; readonly message: string };

/** A complaint of a client. */
export interface Complaint {
  readonly message: string;
  readonly time: Date;
}

// Responses that wait for their answers. An answer to one is an answer to those before it, too.
interface Flight {
  readonly nonces: string[];
  readonly landed: () => void;
}

/** What a client wants and has of names that it asks for one by one. */
class Wanted {
  readonly names: Set<string> = new Set();
  // Services that were asked for, by name or by address: their endpoints come with them.
  readonly #services: Set<string> = new Set();
  readonly #sent: Set<string> = new Set();
  readonly #node: string;

  constructor(node: string, reported: Iterable<string>, store: ResourceStore) {
    this.#node = node;
    // The others it is told to forget, so they need not be remembered, however many it says.
    for (const name of reported) {
      if (store.get(name) !== undefined) {
        this.#sent.add(name);
      }
    }
  }

  #isWanted({ name, aliases, services, node }: EncodedResource): boolean {
    return (
      this.names.has(name) ||
      aliases.some((alias) => this.names.has(alias)) ||
      services.some((key) => this.#services.has(key) || this.names.has(key)) ||
      (node !== '' && node === this.#node)
    );
  }

  /** Whether a resource that changed, or went, has to be sent. */
  takes(resource: EncodedResource, isThere: boolean): boolean {
    const { name } = resource;
    if (!isThere) {
      return this.#sent.delete(name);
    }
    const takes = this.#sent.has(name) || this.#isWanted(resource);
    if (takes) {
      this.#sent.add(name);
    }
    return takes;
  }

  /** All that a name that was asked for stands for; nothing when there is none of it. */
  resolve(name: string, store: ResourceStore): ReadonlySet<EncodedResource> {
    const found = allOf(name, store);
    for (const resource of found) {
      this.#sent.add(resource.name);
      if (isService(resource)) {
        this.#services.add(resource.name);
      }
    }
    return found;
  }

  /** Takes a name back, and all that came with it alone. */
  drop(name: string, store: ResourceStore): void {
    this.names.delete(name);
    const found = allOf(name, store);
    for (const resource of found) {
      this.#services.delete(resource.name);
    }
    for (const resource of found) {
      if (!this.#isWanted(resource)) {
        this.#sent.delete(resource.name);
      }
    }
  }
}

// A service stands for its endpoints too.
function allOf(name: string, store: ResourceStore): Set<EncodedResource> {
  const found = store.find(name);
  const endpoints = found.filter(isService).flatMap((service) => store.ofService(service.name));
  return new Set([...found, ...endpoints]);
}

function isService({ name, services }: EncodedResource): boolean {
  return services[0] === name;
}

/** The state of one resource type on one stream. */
export class Subscription {
  readonly #store: ResourceStore;
  readonly #wanted: Wanted;
  readonly #node: string;
  #wildcard: boolean;
  // Names just asked for, which are answered whether or not they changed.
  #asked: Set<string> = new Set();
  // Up to where the client was sent all that it wants; undefined when it has nothing.
  #at: number | undefined;
  // What the client said it has, until it was sent what it lacks.
  #reported: ReadonlyMap<string, string>;
  #owesAnswer = true;
  #flight: Flight | undefined;
  #isRefused = false;
  #acked: number | undefined;
  #nacks = 0;
  #complaint: Complaint | undefined;

  /**
   * The first request of a type on a stream: it is always answered. Throws MeshError `limit` when
   * it subscribes to too much.
   *
   * @param node where the client runs; what runs there comes unasked to clients that name names.
   */
  constructor(first: DeltaDiscoveryRequest, store: ResourceStore, node: string) {
    this.#store = store;
    this.#node = node;
    this.#reported = new Map(Object.entries(first.initialResourceVersions));
    this.#wanted = new Wanted(node, this.#reported.keys(), store);
    const subscribe = first.resourceNamesSubscribe;
    // A client that names nothing at all means everything.
    this.#wildcard = subscribe.length === 0 && first.resourceNamesUnsubscribe.length === 0;
    this.#change(first);
    // What the client already has is not sent again, even though it names it.
    for (const [name, version] of this.#reported) {
      if (store.get(name)?.version === version) {
        this.#asked.delete(name);
      }
    }
  }

  /** Takes a later request. Throws MeshError `limit` when it subscribes to too much. */
  request(request: DeltaDiscoveryRequest, now: Date): RequestOutcome {
    const isRefused = request.errorDetail !== undefined;
    const isCurrent = this.#land(request.responseNonce, isRefused);
    if (request.errorDetail !== undefined) {
      if (!isCurrent) {
        return { kind: 'quiet' };
      }
      const message = request.errorDetail.message.slice(0, complaintCharactersMax);
      this.#nacks += 1;
      this.#complaint = { message, time: now };
      return { kind: 'nack', message };
    }
    // An ACK of an older response may still carry a change of what is subscribed.
    const changes = this.#change(request);
    this.#owesAnswer ||= changes;
    return { kind: changes ? 'answer' : 'quiet' };
  }

  // False for a nonce that no answer is waited for any more.
  #land(nonce: string, isRefused: boolean): boolean {
    const flight = this.#flight;
    const index = flight?.nonces.indexOf(nonce) ?? -1;
    if (flight === undefined || index < 0) {
      return false;
    }
    flight.nonces.splice(0, index + 1);
    this.#isRefused ||= isRefused;
    if (flight.nonces.length === 0) {
      this.#flight = undefined;
      flight.landed();
    }
    return true;
  }

  #change(request: DeltaDiscoveryRequest): boolean {
    let changes = false;
    for (const name of request.resourceNamesSubscribe) {
      changes = true;
      if (name === wildcard) {
        // What was skipped while only names were subscribed is missing now.
        this.#at = this.#wildcard ? this.#at : undefined;
        this.#wildcard = true;
      } else {
        this.#wanted.names.add(name);
        this.#asked.add(name);
      }
    }
    // Each once: one name may stand for thousands of resources.
    for (const name of new Set(request.resourceNamesUnsubscribe)) {
      if (name === wildcard) {
        this.#wildcard = false;
      } else {
        this.#wanted.drop(name, this.#store);
        this.#asked.delete(name);
      }
    }
    if (this.#wanted.names.size > subscribedNamesMax) {
      throw new MeshError('limit', `more than ${subscribedNamesMax} names subscribed`);
    }
    return changes;
  }

  /** Whether the client must get a response, even if nothing changed. */
  get owesAnswer(): boolean {
    return this.#owesAnswer;
  }

  /** Whether there may be something to send. */
  get needs(): boolean {
    return this.#owesAnswer || this.#at !== this.#store.revision;
  }

  /** Whether what the client lacks is still known; if not, it has to come back and say what it has. */
  get reachesBack(): boolean {
    return this.#at === undefined || this.#store.reachesBack(this.#at);
  }

  /** Up to where the client was sent all that it wants; undefined before the first push. */
  get at(): number | undefined {
    return this.#at;
  }

  /** Up to where the client took all that it was sent; undefined before the first time. */
  get acked(): number | undefined {
    return this.#acked;
  }

  /** Responses the client refused. */
  get nacks(): number {
    return this.#nacks;
  }

  /** Why it last refused one. */
  get complaint(): Complaint | undefined {
    return this.#complaint;
  }

  /** How many names the client asked for; undefined when it wants everything. */
  get names(): number | undefined {
    return this.#wildcard ? undefined : this.#wanted.names.size;
  }

  /**
   * Whether the client lacks exactly what changed since `at`, or everything, so that its push is
   * the same as others'.
   */
  get isShared(): boolean {
    return this.#wildcard && this.#asked.size === 0 && this.#reported.size === 0;
  }

  /** What the client is missing, by itself. */
  missing(): Delta {
    const changed = new Map<string, EncodedResource>();
    const removed = new Set<string>();
    if (this.#reported.size > 0) {
      this.#compare(changed, removed);
    } else if (this.#at === undefined && !this.#wildcard) {
      for (const resource of this.#store.ofNode(this.#node)) {
        this.#collect(resource, true, changed, removed);
      }
    } else {
      this.#follow(changed, removed);
    }
    for (const name of this.#asked) {
      const found = this.#wildcard
        ? new Set(this.#store.find(name))
        : this.#wanted.resolve(name, this.#store);
      for (const resource of found) {
        changed.set(resource.name, resource);
      }
      // A name that does not exist is answered too: as removed.
      if (found.size === 0) {
        removed.add(name);
      }
    }
    return { changed: [...changed.values()], removed: [...removed] };
  }

  #collect(
    resource: EncodedResource,
    isThere: boolean,
    changed: Map<string, EncodedResource>,
    removed: Set<string>,
  ): void {
    if (!this.#wildcard && !this.#wanted.takes(resource, isThere)) {
      return;
    }
    if (isThere) {
      changed.set(resource.name, resource);
    } else {
      removed.add(resource.name);
    }
  }

  // Against what the client says it has.
  #compare(changed: Map<string, EncodedResource>, removed: Set<string>): void {
    for (const resource of this.#store.resources()) {
      if (this.#reported.get(resource.name) !== resource.version) {
        this.#collect(resource, true, changed, removed);
      }
    }
    for (const name of this.#reported.keys()) {
      if (this.#store.get(name) === undefined) {
        removed.add(name);
      }
    }
  }

  #follow(changed: Map<string, EncodedResource>, removed: Set<string>): void {
    if (this.#at === undefined) {
      for (const resource of this.#store.resources()) {
        this.#collect(resource, true, changed, removed);
      }
      return;
    }
    for (const { resource, isThere } of this.#store.since(this.#at)) {
      this.#collect(resource, isThere, changed, removed);
    }
  }

  /** Notes that all that the client is missing now is under way. */
  advance(): void {
    this.#at = this.#store.revision;
    this.#reported = new Map();
    this.#asked = new Set();
    this.#owesAnswer = false;
    this.#isRefused = false;
  }

  /** Notes responses that are about to be sent; resolves when all were answered. */
  fly(responses: readonly EncodedResponse[]): Promise<void> {
    return new Promise((landed) => {
      if (responses.length === 0) {
        landed();
      } else {
        this.#flight = { nonces: responses.map(({ nonce }) => nonce), landed };
      }
    });
  }

  /** Notes that all that is under way since `advance` was answered. */
  settle(): void {
    if (!this.#isRefused) {
      this.#acked = this.#at;
    }
  }
}
