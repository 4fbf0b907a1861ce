// SPDX-License-Identifier: Apache-2.0
import { chmodSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import {
  createPrivateFile,
  ensurePrivateFolder,
  writePrivateFile,
} from '../../../src/lib/private-files.ts';

const modeOf = (path: string) => statSync(path).mode & 0o777;

t.test('makes a private folder, and closes one that is open to others', async (t) => {
  const folder = join(t.testdir(), 'a', 'b');
  await ensurePrivateFolder(folder);
  t.equal(modeOf(folder), 0o700);
  chmodSync(folder, 0o755);
  await ensurePrivateFolder(folder);
  t.equal(modeOf(folder), 0o700);
});

t.test('replaces a file whole and leaves nothing beside it', async (t) => {
  const folder = t.testdir();
  const path = join(folder, 'key');
  await writePrivateFile(path, 'one');
  await writePrivateFile(path, 'two');
  t.equal(readFileSync(path, 'utf8'), 'two');
  t.equal(modeOf(path), 0o600);
  t.same(readdirSync(folder), ['key']);
});

t.test('creates a file for exactly one of many', async (t) => {
  const folder = t.testdir();
  const path = join(folder, 'once');
  const won = await Promise.all(['a', 'b', 'c', 'd'].map((text) => createPrivateFile(path, text)));
  t.equal(won.filter(Boolean).length, 1);
  t.equal(readFileSync(path, 'utf8'), ['a', 'b', 'c', 'd'][won.indexOf(true)]);
  t.equal(modeOf(path), 0o600);
  t.same(readdirSync(folder), ['once']);
});

t.test('says why it cannot write', async (t) => {
  await t.rejects(createPrivateFile(join(t.testdir(), 'none', 'x'), ''), { code: 'ENOENT' });
});
