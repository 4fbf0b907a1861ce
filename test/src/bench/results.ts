// SPDX-License-Identifier: Apache-2.0
import t from 'tap';
import { slugOf } from '../../../src/bench/results.ts';

t.test('names a machine so that it can be part of a file name', async (t) => {
  t.equal(slugOf('AMD EPYC'), 'amd-epyc');
  t.equal(slugOf('Intel(R) Xeon(R) CPU @ 2.60GHz '), 'intel-r-xeon-r-cpu-2-60ghz');
});
