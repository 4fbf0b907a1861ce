// SPDX-License-Identifier: Apache-2.0
import t from 'tap';
import { spreadOf } from '../../../src/bench/statistics.ts';

t.test('gives the middle sample, and the mean of the two middle ones', async (t) => {
  t.strictSame(spreadOf([3, 1, 2]), { n: 3, median: 2, min: 1, max: 3 });
  t.strictSame(spreadOf([4, 1, 3, 2]), { n: 4, median: 2.5, min: 1, max: 4 });
});

t.test('refuses to show what nobody measured', async (t) => {
  t.throws(() => spreadOf([]), RangeError);
});
