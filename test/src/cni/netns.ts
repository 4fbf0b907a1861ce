// SPDX-License-Identifier: Apache-2.0
import { openSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { closeFd } from '../../../native/index.ts';
import { checkNamespace, isGone, whyNotOpened } from '../../../src/cni/netns.ts';
import { MeshError } from '../../../src/lib/error.ts';

t.test('a namespace is told from a file', async (t) => {
  for (const [path, fine] of [
    ['/proc/self/ns/net', true],
    ['/etc/hosts', false],
  ] as const) {
    const fd = openSync(path, 'r');
    t.teardown(() => closeFd(fd));
    if (fine) {
      checkNamespace(fd, path);
    } else {
      t.throws(() => checkNamespace(fd, path), { code: 'invalid', message: path });
    }
  }
});

t.test('why a path cannot be opened is said by what is there', async (t) => {
  const folder = t.testdir({ file: '', loop: t.fixture('symlink', 'loop') });
  const refused = new MeshError('unavailable', 'refused');
  const at = (name: string): string => whyNotOpened(join(folder, name), refused).code;
  t.equal(at('missing'), 'conflict');
  t.equal(at('file/below'), 'invalid');
  t.equal(at('loop'), 'invalid');
  t.equal(at('x'.repeat(300)), 'invalid');
  t.equal(at('.'), 'invalid');
  t.equal(at('file'), 'unavailable', 'what was refused for another reason stays so');
  t.ok(isGone(join(folder, 'missing')));
  t.notOk(isGone(folder));
});
