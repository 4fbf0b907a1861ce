// SPDX-License-Identifier: Apache-2.0
import { globSync, readFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import t from 'tap';
import {
  complaints,
  costsIn,
  type KernelRecords,
  lineOf,
  tableOf,
} from '../../../scripts/kernels/costs.ts';
import { root } from '../../../scripts/steps.ts';

const tap = `TAP version 14
ok 1 - first
# program weft_a: 20 instructions, 27 translated, 22 verified, 2 states
  # program weft_b: 573 instructions, 672 translated, 982 verified, 83 states
# program weft_c: some instructions
1..1
`;
const weftA = { instructions: 20, translated: 27, verified: 22, states: 2 };
const weftB = { instructions: 573, translated: 672, verified: 982, states: 83 };

t.test('figures are read from the notes of the tests', async (t) => {
  t.same(costsIn(tap), { weft_a: weftA, weft_b: weftB });
  t.same(costsIn('TAP version 14\n1..0\n'), {});
});

t.test('a kernel is known by its major and minor version', async (t) => {
  t.equal(lineOf('6.1.0-57-cloud-amd64'), '6.1');
  t.equal(lineOf('6.12.117+deb12-cloud-amd64'), '6.12');
  t.equal(lineOf('7.0-rc1'), '7.0');
  t.throws(() => lineOf('cloud'), { code: 'invalid' });
});

t.test('a program may grow by a fifth, and no more, in each figure', async (t) => {
  const recorded = { weft_b: { instructions: 100, translated: 100, verified: 100, states: 100 } };
  for (const figure of ['instructions', 'translated', 'verified', 'states'] as const) {
    const grown = (count: number) => ({ weft_b: { ...recorded.weft_b, [figure]: count } });
    t.same(complaints(grown(120), recorded), []);
    t.same(complaints(grown(121), recorded), [`weft_b: 121 ${figure}, recorded are 100`]);
    t.same(complaints(grown(1), recorded), []);
  }
});

t.test('programs that are new or gone are told, and kernels that are new are none', async (t) => {
  t.same(complaints({ weft_a: weftA }, { weft_b: weftB }), [
    'weft_a: not recorded',
    'weft_b: recorded, but not there',
  ]);
  t.same(complaints({ weft_a: weftA }, undefined), []);
});

t.test('a table has a row for each program and a column for each kernel', async (t) => {
  const records = {
    '6.12': { release: '6.12.1', programs: { weft_a: weftA, weft_b: weftB } },
    '6.1': { release: '6.1.2', programs: { weft_a: weftA } },
    '5.15': { release: '5.15.3', programs: {} },
  };
  t.equal(
    tableOf(records),
    `| program | instructions | 5.15 | 6.1 | 6.12 |
|---|---|---|---|---|
| \`weft_a\` | 20 |  | 27 / 22 / 2 | 27 / 22 / 2 |
| \`weft_b\` | 573 |  |  | 672 / 982 / 83 |
`,
  );
});

// Of one source of programs, with those that a kernel gets without a part of it: they have the same
// names, and what is left out behind them.
const namesIn = (file: string): string[] => {
  const text = readFileSync(join(root, 'bpf', file), 'utf8');
  const whole = /^#include "(\w+)\.bpf\.c"$/m.exec(text)?.[1];
  if (whole !== undefined) {
    const left = basename(file, '.bpf.c').slice(whole.length);
    return namesIn(`${whole}.bpf.c`).map((name) => name + left);
  }
  return [...text.matchAll(/^SEC\("[a-z_/0-9]+"\)\nint (\w+)\(/gm)].map(([, name]) => `${name}`);
};

t.test('every program of the sources is recorded for every kernel', async (t) => {
  const records: KernelRecords = JSON.parse(readFileSync(join(root, 'docs/kernels.json'), 'utf8'));
  const files = globSync('*.bpf.c', { cwd: join(root, 'bpf') });
  const whole = files.filter((file) => !file.includes('_without_')).flatMap(namesIn);
  const parts = files.filter((file) => file.includes('_without_'));
  t.ok(whole.length > 0 && parts.length > 0);
  t.ok('6.1' in records && '6.12' in records);
  for (const [line, { release, programs }] of Object.entries(records)) {
    t.equal(lineOf(release), line);
    const recorded = Object.keys(programs);
    t.same(recorded.filter((name) => !name.includes('_without_')).sort(), whole.sort(), line);
    // A program that has to do with what is left out alone is not there.
    const left = recorded.filter((name) => name.includes('_without_'));
    const known = new Map(parts.map((file) => [file, new Set(namesIn(file))]));
    t.same(
      left.filter((name) => ![...known.values()].some((names) => names.has(name))),
      [],
    );
    t.same(
      parts.filter((file) => !left.some((name) => known.get(file)?.has(name))),
      [],
    );
  }
});
