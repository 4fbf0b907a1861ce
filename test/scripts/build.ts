// SPDX-License-Identifier: Apache-2.0
import t from 'tap';
import { configuredWith } from '../../scripts/build.ts';

t.test('a build folder counts as configured for its own libraries only', async (t) => {
  const folder = t.testdir({
    made: { 'CMakeCache.txt': 'A:BOOL=ON\nDEPS_PREFIX:PATH=/cache/0123\nB:BOOL=ON\n' },
    empty: {},
  });
  t.equal(configuredWith(`${folder}/made`, '/cache/0123'), true);
  t.equal(configuredWith(`${folder}/made`, '/cache/012'), false);
  t.equal(configuredWith(`${folder}/empty`, '/cache/0123'), false);
  t.equal(configuredWith(`${folder}/absent`, '/cache/0123'), false);
});
