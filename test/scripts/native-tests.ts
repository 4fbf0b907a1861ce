// SPDX-License-Identifier: Apache-2.0
import { globSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { oneThread } from '../../scripts/native-tests.ts';
import { root } from '../../scripts/steps.ts';

t.test('what ThreadSanitizer is not asked has one thread', async (t) => {
  for (const pattern of oneThread) {
    const files = globSync(`test/native/${pattern}`, { cwd: root });
    t.not(files.length, 0, `${pattern} names sources of tests`);
    for (const file of files) {
      const text = readFileSync(join(root, file), 'utf8');
      t.notMatch(text, /\bj?thread\b|\bfork\b|\bWorker\b|\bEngine\b|DirectPaths/, file);
    }
  }
});
