// SPDX-License-Identifier: Apache-2.0
import t from 'tap';
import { captureTable, main, tableOf } from '../../../src/cli/check.ts';
import type { CaptureProbe } from '../../../src/cni/capture-probe.ts';

const skip = process.getuid?.() === 0 ? false : 'needs root';
const row = { name: 'veth', ok: true, seen: 'works', required: true, how: 'modprobe veth' };

interface Checked {
  readonly ok: boolean;
  readonly rows: readonly unknown[];
  readonly capture: CaptureProbe;
}

t.test('a row that is missing is followed by how to get it', async (t) => {
  t.equal(tableOf([row]), 'yes  veth  works\n');
  const missing = tableOf([{ ...row, ok: false, seen: 'refused' }]);
  t.match(missing, /^NO {3}veth {2}refused\n +get it: modprobe veth\n$/);
  t.match(tableOf([{ ...row, ok: false, required: false }]), /^no {3}veth/);
});

t.test('a feature that is missing is followed by what is lost, and the tier by why', async (t) => {
  const text = captureTable({
    tier: 'kernel',
    reasons: ['guard: passes'],
    features: [
      { name: 'btf', result: 'yes', seen: 'works' },
      { name: 'guard', result: 'no', seen: 'passes' },
    ],
  });
  t.match(text, /^yes {2}btf {4}works\nno {3}guard {2}passes\n +pods of one node have tunnels/);
  t.match(text, /; get it: .*\ncapture: kernel\n {2}because of guard: passes\n$/);
});

t.test('as JSON it is one object with the same verdict as the exit code', async (t) => {
  let printed = '';
  const code = await main(['-o', 'json'], (text) => {
    printed += text;
  });
  const { ok, rows, capture } = JSON.parse(printed) as Checked;
  t.equal(code, ok ? 0 : 3);
  t.equal(rows.length, 13);
  t.equal(new Set(capture.features.map(({ name }) => name)).size, 32);
  if (skip === false) {
    t.strictSame([capture.tier, capture.reasons], ['kernel-direct', []]);
  }
});
