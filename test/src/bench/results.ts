// SPDX-License-Identifier: Apache-2.0
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { saveResults, slugOf } from '../../../src/bench/results.ts';

t.test('names a machine so that it can be part of a file name', async (t) => {
  t.equal(slugOf('AMD EPYC'), 'amd-epyc');
  t.equal(slugOf('Intel(R) Xeon(R) CPU @ 2.60GHz '), 'intel-r-xeon-r-cpu-2-60ghz');
});

t.test('keeps what was measured with the machine and the date', async (t) => {
  const folder = join(t.testdir(), 'results');
  const file = saveResults(folder, { rounds: 3 });
  t.match(file, /\/results\/\d{4}-\d\d-\d\d-[a-z0-9-]+-l4\.json$/);
  const kept = JSON.parse(readFileSync(file, 'utf8'));
  t.match(kept, { rounds: 3, machine: { kernel: /^\d/ }, versions: { node: process.version } });
});
