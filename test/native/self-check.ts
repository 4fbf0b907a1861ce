// SPDX-License-Identifier: Apache-2.0
// The addon is linked once more without the options that keep its libraries to itself.
import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import t from 'tap';
import { buildAddon } from '../../scripts/build.ts';
import { dependencyPrefix } from '../../scripts/deps.ts';
import { root } from '../../scripts/steps.ts';

const loadIn = (file: string): Promise<{ stdout: string; stderr: string }> =>
  promisify(execFile)(process.execPath, ['-e', `require(${JSON.stringify(join(root, file))})`]);

t.test('an addon that the loader binds to node itself refuses to load', async (t) => {
  t.setTimeout(120_000);
  await buildAddon(await dependencyPrefix(), 'weft_wrong');
  await t.rejects(loadIn('build/wrong/weft_wrong.node'), {
    message: /self-check: SSL_new resolves to .*node.*, not to .*weft_wrong\.node/,
  });
});

t.test('the addon as it is linked for use loads', async (t) => {
  await t.resolves(loadIn('build/Release/weft.node'));
});
