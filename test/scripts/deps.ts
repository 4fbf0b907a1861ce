// SPDX-License-Identifier: Apache-2.0
import t from 'tap';
import { prefixKey } from '../../scripts/deps.ts';

t.test('the key of a build depends on every input and on where one ends', async (t) => {
  const key = prefixKey(['recipe', 'lock', 'compiler']);
  t.match(key, /^[0-9a-f]{16}$/);
  t.equal(prefixKey(['recipe', 'lock', 'compiler']), key);
  t.not(prefixKey(['recipe', 'lock', 'other compiler']), key);
  t.not(prefixKey(['recipel', 'ock', 'compiler']), key);
  t.not(prefixKey(['lock', 'recipe', 'compiler']), key);
});
