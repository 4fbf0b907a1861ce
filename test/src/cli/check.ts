// SPDX-License-Identifier: Apache-2.0
import t from 'tap';
import { main, tableOf } from '../../../src/cli/check.ts';

const row = { name: 'veth', ok: true, seen: 'works', required: true, how: 'modprobe veth' };

t.test('a row that is missing is followed by how to get it', async (t) => {
  t.equal(tableOf([row]), 'yes veth  works\n');
  const missing = tableOf([{ ...row, ok: false, seen: 'refused' }]);
  t.match(missing, /^NO {2}veth {2}refused\n +get it: modprobe veth\n$/);
  t.match(tableOf([{ ...row, ok: false, required: false }]), /^no {2}veth/);
});

t.test('as JSON it is one object with the same verdict as the exit code', async (t) => {
  let printed = '';
  const code = await main(['-o', 'json'], (text) => {
    printed += text;
  });
  const { ok, rows } = JSON.parse(printed) as { ok: boolean; rows: unknown[] };
  t.equal(code, ok ? 0 : 3);
  t.equal(rows.length, 12);
});
