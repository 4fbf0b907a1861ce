// SPDX-License-Identifier: Apache-2.0
import t from 'tap';
import { ResourceStore, removedNamesMax } from '../../../src/xds/store.ts';
import { added, gone, resource } from '../../support/encoded-resource.ts';
import { randomOf } from '../../support/mutate.ts';

const texts = (store: ResourceStore, revision: number) =>
  store
    .since(revision)
    .map(({ resource: { name, version }, isThere }) => `${isThere ? '+' : '-'}${name}${version}`);

t.test('tells what changed since a revision, each name once, in order', async (t) => {
  const store = new ResourceStore();
  store.update(added(resource('a'), resource('b')), 1);
  store.update(added(resource('c')), 2);
  store.update(added(resource('a', '2')), 3);
  store.update(gone('b'), 4);
  t.same(texts(store, 0), ['+c1', '+a2', '-b1']);
  t.same(texts(store, 2), ['+a2', '-b1']);
  t.same(texts(store, 4), []);
  store.update(added(resource('b', '3')), 5);
  t.same(texts(store, 3), ['+b3'], 'what came back is there');
  t.equal(store.size, 3);
});

t.test('what has its version already is no change', async (t) => {
  const store = new ResourceStore();
  t.equal(store.update(added(resource('a')), 1), true);
  t.equal(store.update(added(resource('a')), 2), false);
  t.equal(store.update(gone('b'), 3), false);
  t.equal(store.revision, 1);
});

t.test('finds by name, by alias, by service and by node, as it is now', async (t) => {
  const store = new ResourceStore();
  const names = (found: Iterable<{ name: string }>) => Array.from(found, ({ name }) => name).sort();
  const x = resource('x', '1', { aliases: ['/10.0.0.1'], services: ['s'], node: 'a' });
  store.update(added(resource('s', '1', { aliases: ['/10.9.0.1'], services: ['s'] }), x), 1);
  t.same(names(store.find('x')), ['x']);
  t.same(names(store.find('/10.0.0.1')), ['x']);
  t.same(names(store.find('/10.9.0.1')), ['s']);
  t.same(names(store.ofService('s')), ['s', 'x']);
  t.same(names(store.ofNode('a')), ['x']);
  store.update(added({ ...x, version: '2', aliases: ['/10.0.0.2'], services: [], node: 'b' }), 2);
  t.same(names(store.find('/10.0.0.1')), []);
  t.same(names(store.find('/10.0.0.2')), ['x']);
  t.same(names(store.ofService('s')), ['s']);
  t.same(names(store.ofNode('a')), []);
  store.update(gone('x'), 3);
  t.same(names(store.find('/10.0.0.2')), []);
  t.same(names(store.ofNode('b')), []);
  t.same(names(store.resources()), ['s']);
});

t.test('says of a policy that it reaches less than a stream may think', async (t) => {
  const store = new ResourceStore();
  const narrows = (revision: number) => store.since(revision).map((each) => each.narrows);
  store.update(added(resource('p')), 1);
  store.update(added(resource('p', '2', { boundByName: true })), 2);
  t.same(narrows(1), [true]);
  store.update(added(resource('p', '3', { boundByName: true })), 3);
  t.same(narrows(1), [true], 'still so for one that is at the first');
  t.same(narrows(2), [false]);
  store.update(gone('p'), 4);
  t.same(narrows(1), [false]);
});

t.test('remembers so many removed names, and says whom it can no longer serve', async (t) => {
  const store = new ResourceStore();
  const name = (i: number) => `n${i}`;
  const all = Array.from({ length: removedNamesMax + 1 }, (_, i) => name(i));
  store.update(added(...all.map((each) => resource(each)), resource('stays')), 1);
  store.update(gone(...all.slice(0, removedNamesMax)), 2);
  t.equal(store.reachesBack(1), true, 'at the limit');
  t.equal(store.since(1).length, removedNamesMax);
  store.update(gone(name(removedNamesMax)), 3);
  t.equal(store.reachesBack(1), false, 'one past it');
  t.equal(store.reachesBack(2), true);
  t.same(texts(store, 2), [`-${name(removedNamesMax)}1`]);
  t.equal(store.size, 1);
});

t.test('from any revision, what changed leads to what there is', async (t) => {
  for (let seed = 1; seed <= 50; seed += 1) {
    const random = randomOf(seed);
    const below = (bound: number) => Math.floor(random() * bound);
    const store = new ResourceStore();
    const states: Map<string, string>[] = [new Map()];
    for (let revision = 1; revision <= 20; revision += 1) {
      const state = new Map(states.at(-1));
      for (let left = below(4); left > 0; left -= 1) {
        const name = `n${below(6)}`;
        if (below(3) === 0) {
          state.delete(name);
          store.update(gone(name), revision);
        } else {
          const version = String(below(3));
          state.set(name, version);
          store.update(added(resource(name, version)), revision);
        }
      }
      states.push(state);
    }
    states.forEach((state, revision) => {
      const led = new Map(state);
      for (const { resource: each, isThere } of store.since(revision)) {
        if (isThere) {
          led.set(each.name, each.version);
        } else {
          led.delete(each.name);
        }
      }
      const isSame = t.strictSame(
        [...led].sort(),
        Array.from(store.resources(), (each) => [each.name, each.version]).sort(),
      );
      if (!isSame) {
        t.comment(`seed ${seed}, revision ${revision}`);
      }
    });
  }
});
