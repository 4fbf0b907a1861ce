// SPDX-License-Identifier: Apache-2.0
// What an agent left on a node, also one that was killed. Runs itself in a namespace that is the
// node. Needs root.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { main } from '../../../src/cli/uninstall.ts';
import { mustRun } from '../../../src/lib/program.ts';

const skip = process.getuid?.() === 0 ? false : 'needs root';

if (process.env['WEFT_TEST_NODE'] !== 'yes') {
  const env = { ...process.env, WEFT_TEST_NODE: 'yes' };
  const self = ['--net', process.execPath, import.meta.filename];
  t.spawn('unshare', self, { env, skip }, 'on a node');
} else {
  await t.test('tables of the guard and of its try go, and its bridge; others stay', async (t) => {
    const pins = mkdtempSync(join(tmpdir(), 'weft-pins-'));
    t.teardown(() => rmSync(pins, { recursive: true, force: true }));
    const names = ['weft_guard_2', 'weft_guard_probe', 'weft_guarded', 'wall'];
    const input = names
      .map((name) => `table inet ${name} { }\ntable bridge ${name} { }\n`)
      .join('');
    await mustRun('nft', ['-f', '-'], { input });
    await mustRun('ip', ['link', 'add', 'weftgbr', 'type', 'bridge']);
    let printed = '';
    const print = (text: string): void => {
      printed += text;
    };
    t.equal(await main(['--bpf-pins', pins], print), 0);
    const left = await mustRun('nft', ['list', 'tables']);
    t.strictSame(left.trim().split('\n').sort(), [
      ...['table bridge wall', 'table bridge weft_guarded'],
      ...['table inet wall', 'table inet weft_guarded'],
    ]);
    t.notMatch(await mustRun('ip', ['link']), /weftgbr/);
    t.equal(printed.match(/^removed the nftables table/gm)?.length, 4);
    t.match(printed, /^removed the bridge weftgbr$/m);

    printed = '';
    t.equal(await main(['--bpf-pins', pins], print), 0, 'and once more');
    t.notMatch(printed, /removed/);
  });
}
