// SPDX-License-Identifier: Apache-2.0
import { fromBinary } from '@bufbuild/protobuf';
import t from 'tap';
import {
  DeltaCache,
  deltaOf,
  encodeResponses,
  responseBytesMax,
  splitPolicies,
} from '../../../src/xds/delta.ts';
import type { EncodedResource, ResourceSet } from '../../../src/xds/encode.ts';
import { DeltaDiscoveryResponseSchema, typeUrls } from '../../../src/xds/wire.ts';

const resource = (name: string, version = '1', boundByName = false): EncodedResource => ({
  name,
  version,
  boundByName,
  aliases: [],
  services: [],
  node: '',
  bytes: Uint8Array.of(),
});

const setOf = (...resources: EncodedResource[]): ResourceSet =>
  new Map(resources.map((entry) => [entry.name, entry]));

const names = (delta: { changed: readonly EncodedResource[]; removed: readonly string[] }) => ({
  changed: delta.changed.map(({ name }) => name),
  removed: delta.removed,
});

t.test('a delta is what is new, changed and gone', async (t) => {
  const from = setOf(resource('same'), resource('changed'), resource('gone'));
  const to = setOf(resource('same'), resource('changed', '2'), resource('new'));
  t.same(names(deltaOf(from, to)), { changed: ['changed', 'new'], removed: ['gone'] });
  t.same(names(deltaOf(to, to)), { changed: [], removed: [] });
});

t.test('streams at the same set share one delta', async (t) => {
  const cache = new DeltaCache();
  const [from, to] = [setOf(resource('a')), setOf(resource('b'))];
  t.equal(cache.between(from, to), cache.between(from, to));
  t.same(names(cache.between(from, to)), { changed: ['b'], removed: ['a'] });
  t.same(names(cache.between(to, from)), { changed: ['a'], removed: ['b'] });
});

t.test('policies go before addresses, but for those that end with them', async (t) => {
  const before = setOf(
    resource('by-name-gone', '1', true),
    resource('wide-gone'),
    resource('narrowed'),
    resource('widened', '1', true),
    resource('by-name-changed', '1', true),
    resource('wide-changed'),
  );
  const after = setOf(
    resource('narrowed', '2', true),
    resource('widened', '2'),
    resource('by-name-changed', '2', true),
    resource('wide-changed', '2'),
    resource('new-by-name', '1', true),
    resource('new-wide'),
  );
  const { first, last } = splitPolicies(deltaOf(before, after), before);
  t.same(names(first), {
    changed: ['widened', 'by-name-changed', 'wide-changed', 'new-by-name', 'new-wide'],
    removed: ['wide-gone'],
  });
  t.same(names(last), { changed: ['narrowed'], removed: ['by-name-gone'] });
});

const decode = (bytes: Uint8Array) => fromBinary(DeltaDiscoveryResponseSchema, bytes);

t.test('a response names its type, its nonce and what is gone', async (t) => {
  const delta = { changed: [], removed: ['a', 'b'] };
  const [response, ...more] = encodeResponses(typeUrls.address, delta, () => '7', false);
  t.equal(more.length, 0);
  t.match(decode(response ?? new Uint8Array()), {
    typeUrl: typeUrls.address,
    nonce: '7',
    removedResources: ['a', 'b'],
    resources: [],
  });
});

t.test('no change is no response, unless one is owed', async (t) => {
  const nothing = { changed: [], removed: [] };
  t.equal([...encodeResponses(typeUrls.address, nothing, () => '1', false)].length, 0);
  t.equal([...encodeResponses(typeUrls.address, nothing, () => '1', true)].length, 1);
});

t.test('a large change is cut into responses of bounded size', async (t) => {
  const half = new Uint8Array(responseBytesMax / 2);
  const sized = (name: string, bytes: Uint8Array) => ({ ...resource(name), bytes });
  let nonce = 0;
  const cut = (...changed: EncodedResource[]) => {
    const next = () => {
      nonce += 1;
      return String(nonce);
    };
    return [...encodeResponses(typeUrls.address, { changed, removed: [] }, next, false)];
  };
  t.equal(cut(sized('a', half), sized('b', half)).length, 1, 'at the limit');
  t.equal(cut(sized('a', half), sized('b', half), resource('c')).length, 1);
  const extra = sized('c', Uint8Array.of(0x32, 0));
  t.equal(cut(sized('a', half), sized('b', half), extra).length, 2, 'one past it');
  t.equal(cut(sized('a', new Uint8Array(responseBytesMax * 2))).length, 1, 'one large resource');
  t.equal(nonce, 5, 'each response has its own nonce');
});
