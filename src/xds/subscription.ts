// SPDX-License-Identifier: Apache-2.0
// One resource type on one stream: what the client asked for and what it has.
import { MeshError } from '../lib/error.ts';
import { type Delta, type DeltaCache, deltaOf, type Versions } from './delta.ts';
import type { EncodedResource, ResourceSet } from './encode.ts';
import type { DeltaDiscoveryRequest } from './wire.ts';

/** Most names that one stream may subscribe to one by one. */
export const subscribedNamesMax = 100_000;

const wildcard = '*';
const nothing: ResourceSet = new Map();

/** What became of a request. */
export type RequestOutcome =
  | { readonly kind: 'answer' } // the client must get a response, even an empty one
  | { readonly kind: 'quiet' } // an ACK
  | { readonly kind: 'nack'; readonly message: string };

/** The state of one resource type on one stream. */
export class Subscription {
  #wildcard = false;
  readonly #names: Set<string> = new Set();
  // Names just asked for, which are answered whether or not they changed.
  #asked: Set<string> = new Set();
  // What the client has: a whole set once it was sent one, before that what it reported.
  #has: ResourceSet = nothing;
  #reported: Versions | undefined;
  #owesAnswer = false;
  // The last response of the newest push, and which push the client took whole.
  #sent: { readonly nonce: string; readonly revision: number } | undefined;
  #acked: number | undefined;
  /** Responses the client refused. */
  nacks = 0;

  /** The first request of a type on a stream: it is always answered. */
  constructor(first: DeltaDiscoveryRequest) {
    this.#reported = new Map(
      Object.entries(first.initialResourceVersions).map(([name, version]) => [name, { version }]),
    );
    const subscribe = first.resourceNamesSubscribe;
    // A client that names nothing at all means everything.
    this.#wildcard = subscribe.length === 0 && first.resourceNamesUnsubscribe.length === 0;
    this.#change(first);
    // What the client already has is not sent again, even though it names it.
    for (const name of this.#reported.keys()) {
      this.#asked.delete(name);
    }
    this.#owesAnswer = true;
  }

  /** Takes a later request. Throws MeshError `limit` when it subscribes to too much. */
  request(request: DeltaDiscoveryRequest): RequestOutcome {
    if (request.errorDetail !== undefined) {
      this.nacks += 1;
      return { kind: 'nack', message: request.errorDetail.message };
    }
    if (this.#sent !== undefined && request.responseNonce === this.#sent.nonce) {
      this.#acked = this.#sent.revision;
    }
    // An ACK of an older response may still carry a change of what is subscribed.
    const changes = this.#change(request);
    this.#owesAnswer ||= changes;
    return { kind: changes ? 'answer' : 'quiet' };
  }

  #change(request: DeltaDiscoveryRequest): boolean {
    let changes = false;
    for (const name of request.resourceNamesSubscribe) {
      changes = true;
      if (name === wildcard) {
        // What was skipped while only names were subscribed is missing now.
        this.#has = this.#wildcard ? this.#has : nothing;
        this.#wildcard = true;
      } else {
        this.#names.add(name);
        this.#asked.add(name);
      }
    }
    for (const name of request.resourceNamesUnsubscribe) {
      if (name === wildcard) {
        this.#wildcard = false;
      } else {
        this.#names.delete(name);
        this.#asked.delete(name);
      }
    }
    if (this.#names.size > subscribedNamesMax) {
      throw new MeshError('limit', `more than ${subscribedNamesMax} names subscribed`);
    }
    return changes;
  }

  /** Whether the client must get a response, even if nothing changed. */
  get owesAnswer(): boolean {
    return this.#owesAnswer;
  }

  /** The set the client was last sent; empty before that. */
  get has(): ResourceSet {
    return this.#has;
  }

  /** Revision of the newest push that the client took whole; undefined before the first. */
  get acked(): number | undefined {
    return this.#acked;
  }

  /** Notes that the response with this nonce brings the client to a revision. */
  sent(nonce: string, revision: number): void {
    this.#sent = { nonce, revision };
  }

  /** Whether there may be something to send. */
  needs(to: ResourceSet): boolean {
    return this.#owesAnswer || this.#has !== to;
  }

  /** What the client is missing, and from now on has. The caller sends all of it, in order. */
  advance(to: ResourceSet, cache: DeltaCache): Delta {
    const delta = this.#missing(to, cache);
    this.#has = to;
    this.#reported = undefined;
    this.#asked = new Set();
    this.#owesAnswer = false;
    return delta;
  }

  #missing(to: ResourceSet, cache: DeltaCache): Delta {
    const all =
      this.#reported === undefined ? cache.between(this.#has, to) : deltaOf(this.#reported, to);
    if (this.#wildcard && this.#asked.size === 0) {
      return all;
    }
    const wanted = (name: string): boolean => this.#wildcard || this.#names.has(name);
    const changed = new Map(
      all.changed.filter(({ name }) => wanted(name)).map((resource) => [resource.name, resource]),
    );
    const removed = new Set(all.removed.filter(wanted));
    for (const name of this.#asked) {
      addAnswer(name, to.get(name), changed, removed);
    }
    return { changed: [...changed.values()], removed: [...removed] };
  }
}

// A name that does not exist is answered too: as removed.
function addAnswer(
  name: string,
  resource: EncodedResource | undefined,
  changed: Map<string, EncodedResource>,
  removed: Set<string>,
): void {
  if (resource === undefined) {
    removed.add(name);
  } else {
    changed.set(name, resource);
  }
}
