// SPDX-License-Identifier: Apache-2.0
// DeltaDiscoveryResponse messages from resources that are encoded already. Streams that are at the
// same place get the same bytes.
import { BinaryWriter, WireType } from '@bufbuild/protobuf/wire';
import type { EncodedResource } from './encode.ts';
import type { ResourceStore } from './store.ts';
import { type TypeUrl, typeUrls } from './wire.ts';

/** A change of one resource type. */
export interface Delta {
  readonly changed: readonly EncodedResource[];
  readonly removed: readonly string[];
}

/** One message, ready to be sent, and the nonce in it. */
export interface EncodedResponse {
  readonly bytes: Buffer;
  readonly nonce: string;
}

/** The messages of one push. */
export interface EncodedDelta {
  readonly responses: readonly EncodedResponse[];
  /** What policies lose, which has to wait for the addresses of the same push. */
  readonly last: readonly EncodedResponse[];
  /** How many resources all of them bring. */
  readonly changed: number;
  readonly removed: number;
}

/** Resources of one response are cut here, so that a large snapshot does not sit in one buffer. */
export const responseBytesMax: number = 1024 * 1024;

/** Most pushes whose messages are kept for other streams, until the next change. */
export const sharedPushesMax = 64;

// Tags of DeltaDiscoveryResponse.
const fields = { resources: 2, typeUrl: 4, nonce: 5, removed: 6 } as const;

interface Chunk {
  readonly changed: EncodedResource[];
  readonly removed: string[];
  bytes: number;
}

function chunksOf({ changed, removed }: Delta): Chunk[] {
  const chunks: Chunk[] = [];
  const room = (bytes: number): Chunk => {
    const last = chunks.at(-1);
    if (last !== undefined && last.bytes + bytes <= responseBytesMax) {
      last.bytes += bytes;
      return last;
    }
    const next: Chunk = { changed: [], removed: [], bytes };
    chunks.push(next);
    return next;
  };
  // First, since what is new may take the place, or the address, of what is gone.
  for (const name of removed) {
    room(Buffer.byteLength(name)).removed.push(name);
  }
  for (const resource of changed) {
    room(resource.bytes.length).changed.push(resource);
  }
  return chunks;
}

const resourceTag = (fields.resources << 3) | WireType.LengthDelimited;
const varintPayloadBits = 7;
const varintMore = 0x80;

function varintBytesOf(value: number): number {
  let bytes = 1;
  for (let rest = value >>> varintPayloadBits; rest > 0; rest >>>= varintPayloadBits) {
    bytes += 1;
  }
  return bytes;
}

// By hand, into a buffer of the right size: a snapshot has ten thousand of them, and a writer
// would copy each one more than once.
function encodeResources(changed: readonly EncodedResource[], after: Uint8Array): Buffer {
  let size = after.length;
  for (const { bytes } of changed) {
    size += 1 + varintBytesOf(bytes.length) + bytes.length;
  }
  const all = Buffer.allocUnsafeSlow(size);
  let at = 0;
  for (const { bytes } of changed) {
    all[at++] = resourceTag;
    let rest = bytes.length;
    for (; rest >= varintMore; rest >>>= varintPayloadBits) {
      all[at++] = (rest & (varintMore - 1)) | varintMore;
    }
    all[at++] = rest;
    all.set(bytes, at);
    at += bytes.length;
  }
  all.set(after, at);
  return all;
}

function encodeChunk(typeUrl: TypeUrl, { changed, removed }: Chunk, nonce: string): Buffer {
  const writer = new BinaryWriter();
  writer.tag(fields.typeUrl, WireType.LengthDelimited).string(typeUrl);
  writer.tag(fields.nonce, WireType.LengthDelimited).string(nonce);
  for (const name of removed) {
    writer.tag(fields.removed, WireType.LengthDelimited).string(name);
  }
  return encodeResources(changed, writer.finish());
}

/** Encodes responses for one server: no two of them have the same nonce. */
export class ResponseEncoder {
  #nonce = 0;
  readonly #shared: Map<string, EncodedDelta> = new Map();

  /**
   * Encodes a change. No change gives no response, unless `evenIfEmpty`. A single resource over
   * the size limit has a response of its own.
   */
  encode(typeUrl: TypeUrl, delta: Delta, evenIfEmpty: boolean): EncodedResponse[] {
    const chunks = chunksOf(delta);
    if (chunks.length === 0 && evenIfEmpty) {
      chunks.push({ changed: [], removed: [], bytes: 0 });
    }
    return chunks.map((chunk) => {
      this.#nonce += 1;
      const nonce = String(this.#nonce);
      return { nonce, bytes: encodeChunk(typeUrl, chunk, nonce) };
    });
  }

  /**
   * What brings a stream that has everything of a revision to what there is now. All streams from
   * the same revision get the same bytes.
   *
   * @param from the revision; undefined for a stream that has nothing.
   */
  between(typeUrl: TypeUrl, from: number | undefined, store: ResourceStore): EncodedDelta {
    const key = `${typeUrl} ${from} ${store.revision}`;
    const known = this.#shared.get(key);
    if (known !== undefined) {
      return known;
    }
    const encoded = this.#between(typeUrl, from, store);
    if (this.#shared.size < sharedPushesMax) {
      this.#shared.set(key, encoded);
    }
    return encoded;
  }

  /** The messages of a change that is one stream's own. */
  alone(typeUrl: TypeUrl, delta: Delta): EncodedDelta {
    return this.#encodeParts(typeUrl, delta, nothing);
  }

  /** Forgets what was shared: there is something newer. */
  forget(): void {
    this.#shared.clear();
  }

  #between(typeUrl: TypeUrl, from: number | undefined, store: ResourceStore): EncodedDelta {
    if (from === undefined) {
      return this.#encodeParts(typeUrl, { changed: [...store.resources()], removed: [] }, nothing);
    }
    const { first, last } = partsOf(store, from);
    return typeUrl === typeUrls.authorization
      ? this.#encodeParts(typeUrl, first, last)
      : this.#encodeParts(typeUrl, joined(first, last), nothing);
  }

  #encodeParts(typeUrl: TypeUrl, first: Delta, last: Delta): EncodedDelta {
    return {
      responses: this.encode(typeUrl, first, false),
      last: this.encode(typeUrl, last, false),
      changed: first.changed.length + last.changed.length,
      removed: first.removed.length + last.removed.length,
    };
  }
}

const nothing: Delta = { changed: [], removed: [] };

function joined(a: Delta, b: Delta): Delta {
  return { changed: [...a.changed, ...b.changed], removed: [...a.removed, ...b.removed] };
}

/**
 * What changed since a revision, split round the changes of the types that come after it. What
 * goes away or reaches less goes last, so that no moment has less protection than both ends have.
 */
export function partsOf(
  store: ResourceStore,
  from: number,
): { readonly first: Delta; readonly last: Delta } {
  const first: EncodedResource[] = [];
  const narrower: EncodedResource[] = [];
  const removed: string[] = [];
  for (const { resource, isThere, narrows } of store.since(from)) {
    if (isThere) {
      (narrows ? narrower : first).push(resource);
    } else {
      removed.push(resource.name);
    }
  }
  return { first: { changed: first, removed: [] }, last: { changed: narrower, removed } };
}
