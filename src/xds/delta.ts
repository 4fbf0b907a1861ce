// SPDX-License-Identifier: Apache-2.0
// What a subscriber is missing: the difference between what it has and what there is.
import { BinaryWriter, WireType } from '@bufbuild/protobuf/wire';
import type { EncodedResource, ResourceSet } from './encode.ts';
import type { TypeUrl } from './wire.ts';

/** A change of one resource type. */
export interface Delta {
  readonly changed: readonly EncodedResource[];
  readonly removed: readonly string[];
}

/** Versions by name: what a subscriber says, or is known, to have. */
export type Versions = ReadonlyMap<string, { readonly version: string }>;

/** Resources of one response are cut here, so that a large snapshot does not sit in one buffer. */
export const responseBytesMax: number = 1024 * 1024;

/** What leads from `from` to `to`. */
export function deltaOf(from: Versions, to: ResourceSet): Delta {
  const changed = [...to.values()].filter(
    ({ name, version }) => from.get(name)?.version !== version,
  );
  const removed = [...from.keys()].filter((name) => !to.has(name));
  return { changed, removed };
}

/** Keeps the last differences, because all streams that are up to date need the same one. */
export class DeltaCache {
  // Weakly held: a set that no stream is at any more takes its differences with it.
  readonly #deltas: WeakMap<ResourceSet, WeakMap<ResourceSet, Delta>> = new WeakMap();

  /** The same as `deltaOf`, computed once for each pair of sets. */
  between(from: ResourceSet, to: ResourceSet): Delta {
    const known = this.#deltas.get(from) ?? new WeakMap<ResourceSet, Delta>();
    this.#deltas.set(from, known);
    const delta = known.get(to) ?? deltaOf(from, to);
    known.set(to, delta);
    return delta;
  }
}

/**
 * Splits a policy change round the address change of the same snapshot. A policy that is bound by
 * name ends with the addresses that stop naming it, so it is removed, or narrowed to names, after
 * them; everything else goes first. Either way no moment has less protection than both ends have.
 */
export function splitPolicies(
  { changed, removed }: Delta,
  before: ResourceSet,
): { readonly first: Delta; readonly last: Delta } {
  const narrows = ({ name, boundByName }: EncodedResource): boolean =>
    boundByName && before.get(name)?.boundByName === false;
  const endsByName = (name: string): boolean => before.get(name)?.boundByName === true;
  return {
    first: {
      changed: changed.filter((resource) => !narrows(resource)),
      removed: removed.filter((name) => !endsByName(name)),
    },
    last: { changed: changed.filter(narrows), removed: removed.filter(endsByName) },
  };
}

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
  for (const resource of changed) {
    room(resource.bytes.length).changed.push(resource);
  }
  for (const name of removed) {
    room(Buffer.byteLength(name)).removed.push(name);
  }
  return chunks;
}

/**
 * Encodes a change as DeltaDiscoveryResponse messages. No change gives no message, unless
 * `evenIfEmpty`. A single resource over the size limit has a response of its own.
 *
 * @param nextNonce gives each response its nonce.
 */
export function* encodeResponses(
  typeUrl: TypeUrl,
  delta: Delta,
  nextNonce: () => string,
  evenIfEmpty: boolean,
): Generator<Buffer> {
  const chunks = chunksOf(delta);
  if (chunks.length === 0 && evenIfEmpty) {
    chunks.push({ changed: [], removed: [], bytes: 0 });
  }
  for (const { changed, removed } of chunks) {
    const writer = new BinaryWriter();
    for (const { bytes } of changed) {
      writer.tag(fields.resources, WireType.LengthDelimited).bytes(bytes);
    }
    writer.tag(fields.typeUrl, WireType.LengthDelimited).string(typeUrl);
    writer.tag(fields.nonce, WireType.LengthDelimited).string(nextNonce());
    for (const name of removed) {
      writer.tag(fields.removed, WireType.LengthDelimited).string(name);
    }
    yield Buffer.from(writer.finish());
  }
}
