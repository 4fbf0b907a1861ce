// SPDX-License-Identifier: Apache-2.0
import t from 'tap';
import { Groups, sameLabels, selects, Table } from '../../../src/mesh/selectors.ts';

t.test('a selector needs all its labels, and an empty one selects all', async (t) => {
  t.equal(selects({}, {}), true);
  t.equal(selects({ a: '1' }, { a: '1', b: '2' }), true);
  t.equal(selects({ a: '1', b: '2' }, { a: '1' }), false);
  t.equal(selects({ a: '1' }, { a: '2' }), false);
});

t.test('selectors are the same when they choose the same', async (t) => {
  t.equal(sameLabels(undefined, undefined), true);
  t.equal(sameLabels(undefined, {}), false, 'nothing, and all');
  t.equal(sameLabels({ a: '1', b: '2' }, { b: '2', a: '1' }), true);
  t.equal(sameLabels({ a: '1' }, { a: '1', b: '2' }), false);
  t.equal(sameLabels({ a: '1', b: '2' }, { a: '1' }), false);
});

t.test('a table has one object of a key, also by its namespace', async (t) => {
  const table = new Table<{ namespace: string; name: string; value: number }>();
  const one = { namespace: 'a', name: 'x', value: 1 };
  const two = { ...one, value: 2 };
  table.keep(one, true);
  table.keep(two, true);
  table.keep({ ...one, namespace: 'b' }, true);
  t.equal(table.get('a/x'), two);
  t.same([...table.in('a')], [two]);
  t.equal([...table.values()].length, 2);
  table.keep(two, false);
  t.equal(table.get('a/x'), undefined);
  t.same([...table.in('a')], []);
});

t.test('a group is there while it has keys', async (t) => {
  const groups = new Groups();
  groups.add('g', 'a');
  groups.add('g', 'b');
  t.same([...groups.of('g')], ['a', 'b']);
  groups.remove('g', 'a');
  groups.remove('g', 'none');
  t.equal(groups.has('g'), true);
  groups.remove('g', 'b');
  t.equal(groups.has('g'), false);
  t.same([...groups.of('g')], []);
});
