// SPDX-License-Identifier: Apache-2.0
import type { EncodedResource, ResourceChange } from '../../src/xds/encode.ts';

/** A resource of a name alone, unless more is said. */
export function resource(
  name: string,
  version = '1',
  more: Partial<EncodedResource> = {},
): EncodedResource {
  return {
    ...{ name, version, boundByName: false, aliases: [], services: [], node: '' },
    // A Resource message of a name: field 3.
    bytes: Uint8Array.of(0x1a, name.length, ...Buffer.from(name)),
    ...more,
  };
}

/** A change that brings resources. */
export function added(...changed: EncodedResource[]): ResourceChange {
  return { changed, removed: [] };
}

/** A change that takes names away. */
export function gone(...removed: string[]): ResourceChange {
  return { changed: [], removed };
}
