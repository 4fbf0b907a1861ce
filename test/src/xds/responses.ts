// SPDX-License-Identifier: Apache-2.0
import { fromBinary } from '@bufbuild/protobuf';
import t from 'tap';
import type { EncodedResource } from '../../../src/xds/encode.ts';
import {
  type Delta,
  type EncodedResponse,
  partsOf,
  ResponseEncoder,
  responseBytesMax,
  sharedPushesMax,
} from '../../../src/xds/responses.ts';
import { ResourceStore } from '../../../src/xds/store.ts';
import { DeltaDiscoveryResponseSchema, typeUrls } from '../../../src/xds/wire.ts';
import { added, gone, resource } from '../../support/encoded-resource.ts';

const names = ({ changed, removed }: Delta) => ({
  changed: changed.map(({ name }) => name),
  removed,
});

const decode = ({ bytes }: EncodedResponse) => fromBinary(DeltaDiscoveryResponseSchema, bytes);
const text = (response: EncodedResponse) => {
  const { resources, removedResources } = decode(response);
  return [
    ...resources.map(({ name }) => `+${name}`),
    ...removedResources.map((name) => `-${name}`),
  ].join(' ');
};

const byName = { boundByName: true };

t.test('policies go before addresses, but for what they lose', async (t) => {
  const store = new ResourceStore();
  store.update(
    added(
      resource('by-name-gone', '1', byName),
      resource('wide-gone'),
      resource('narrowed'),
      resource('widened', '1', byName),
      resource('by-name-changed', '1', byName),
      resource('wide-changed'),
    ),
    1,
  );
  store.update(
    {
      changed: [
        resource('narrowed', '2', byName),
        resource('widened', '2'),
        resource('by-name-changed', '2', byName),
        resource('wide-changed', '2'),
        resource('new-by-name', '1', byName),
        resource('new-wide'),
      ],
      removed: ['by-name-gone', 'wide-gone'],
    },
    2,
  );
  const { first, last } = partsOf(store, 1);
  t.same(names(first), {
    changed: ['widened', 'by-name-changed', 'wide-changed', 'new-by-name', 'new-wide'],
    removed: [],
  });
  t.same(names(last), { changed: ['narrowed'], removed: ['by-name-gone', 'wide-gone'] });
});

t.test('a response names its type, its nonce and what is gone', async (t) => {
  const [response, ...more] = new ResponseEncoder().encode(typeUrls.address, gone('a', 'b'), false);
  t.equal(more.length, 0);
  t.match(response && decode(response), {
    typeUrl: typeUrls.address,
    nonce: response?.nonce,
    removedResources: ['a', 'b'],
    resources: [],
  });
});

t.test('no change is no response, unless one is owed', async (t) => {
  const encoder = new ResponseEncoder();
  t.equal(encoder.encode(typeUrls.address, gone(), false).length, 0);
  t.equal(encoder.encode(typeUrls.address, gone(), true).length, 1);
});

t.test('a large change is cut into responses of bounded size', async (t) => {
  const encoder = new ResponseEncoder();
  const half = new Uint8Array(responseBytesMax / 2);
  const sized = (name: string, bytes: Uint8Array) => resource(name, '1', { bytes });
  const empty = sized('c', Uint8Array.of());
  const cut = (...changed: EncodedResource[]) =>
    encoder.encode(typeUrls.address, added(...changed), false);
  t.equal(cut(sized('a', half), sized('b', half)).length, 1, 'at the limit');
  t.equal(cut(sized('a', half), sized('b', half), empty).length, 1);
  const extra = sized('c', Uint8Array.of(0x32, 0));
  t.equal(cut(sized('a', half), sized('b', half), extra).length, 2, 'one past it');
  t.equal(cut(sized('a', new Uint8Array(responseBytesMax * 2))).length, 1, 'one large resource');
  const nonces = cut(sized('a', half), sized('b', half), extra).map(({ nonce }) => nonce);
  t.equal(new Set(nonces).size, 2, 'each response has its own nonce');
});

t.test('streams at the same place are sent the same bytes, until something changes', async (t) => {
  const store = new ResourceStore();
  const encoder = new ResponseEncoder();
  store.update(added(resource('a')), 1);
  store.update({ changed: [resource('b')], removed: ['a'] }, 2);
  const between = (from: number | undefined) => encoder.between(typeUrls.address, from, store);
  t.same(between(1).responses.map(text), ['+b -a'], 'what is gone goes with what took its place');
  t.same([between(1).changed, between(1).removed], [1, 1]);
  t.same(between(undefined).responses.map(text), ['+b']);
  t.equal(between(1), between(1));
  const before = between(1);
  encoder.forget();
  t.not(between(1), before);
  t.same(encoder.between(typeUrls.authorization, 1, store).last.map(text), ['-a']);
});

t.test('so many pushes are shared, the others are made one by one', async (t) => {
  const store = new ResourceStore();
  const encoder = new ResponseEncoder();
  store.update(added(resource('a')), sharedPushesMax + 1);
  const between = (from: number) => encoder.between(typeUrls.address, from, store);
  for (let from = 0; from < sharedPushesMax; from += 1) {
    between(from);
  }
  t.equal(between(sharedPushesMax - 1), between(sharedPushesMax - 1), 'at the limit');
  t.not(between(sharedPushesMax), between(sharedPushesMax), 'one past it');
});
