// SPDX-License-Identifier: Apache-2.0
// Programs are built and run by `npm run bench:crypto`, `bench:handshakes` and `bench:hooks`: by hand, as all benches.
import t from 'tap';
import * as z from 'zod';
import { positiveUpTo, sampleLinesIn } from '../../../src/bench/native-bench.ts';

t.test('each line is a sample', (t) => {
  const line = z.object({ ns: z.int() });
  t.same(sampleLinesIn('bench_x', '{"ns":1}\n{"ns":2}\n', line), [{ ns: 1 }, { ns: 2 }]);
  for (const wrong of ['', '{"ns":1}\n{"ns":"2"}', '{"ns":1}\nno JSON']) {
    t.throws(() => sampleLinesIn('bench_x', wrong, line), { code: 'invalid', message: /bench_x/ });
  }
  t.end();
});

t.test('a flag is a whole number within its bounds', (t) => {
  const parse = positiveUpTo(9);
  t.same(['1', '9'].map(parse), [1, 9]);
  for (const wrong of ['0', '10', '1.5', 'x', '']) {
    t.throws(() => parse(wrong), { code: 'invalid', message: /from 1 to 9$/ });
  }
  t.end();
});
