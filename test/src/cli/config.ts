// SPDX-License-Identifier: Apache-2.0
import { cpSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { root } from '../../../scripts/steps.ts';
import { main } from '../../../src/cli/config.ts';
import { serveFakeAdmin, statusOf } from '../../support/fake-admin.ts';

async function run(...argv: string[]): Promise<{ code: number; text: string }> {
  let text = '';
  const code = await main(argv, (more) => {
    text += more;
  });
  return { code, text };
}

t.test('a folder in order passes', async (t) => {
  const { code, text } = await run('check', join(root, 'src/lab/mesh'));
  t.equal(code, 0);
  t.match(text, /^0 errors, /m);
});

t.test('an error is named by file, line and field, and the exit code is 2', async (t) => {
  const folder = join(t.testdir(), 'mesh');
  cpSync(join(root, 'src/lab/mesh'), folder, { recursive: true });
  writeFileSync(
    join(folder, 'bad.yaml'),
    'apiVersion: v1\nkind: Namespace\nmetadata:\n  name: x\n  labels: 7\n---\n{a: [\n',
  );
  const { code, text } = await run('check', folder);
  t.equal(code, 2);
  t.match(text, /^error: bad\.yaml:5: metadata\.labels: /m);
  const json = await run('check', folder, '-o', 'json');
  t.equal(json.code, 2);
  const said = JSON.parse(json.text);
  t.equal(said.ok, false);
  t.match(said.problems[0], { severity: 'error', file: 'bad.yaml' });
  await t.rejects(run('check', join(folder, 'nothing')), { code: 'invalid' });
});

t.test('a dump is what one proxy says, indented for people', async (t) => {
  const dump = { workloads: [{ uid: 'u' }] };
  const answers = { '/status': statusOf('a'), '/config_dump': dump };
  const socket = await serveFakeAdmin(t, answers);
  t.equal((await run('dump', '--socket', socket)).text, `${JSON.stringify(dump, null, 2)}\n`);
  t.equal((await run('dump', '--socket', socket, '-o', 'json')).text, `${JSON.stringify(dump)}\n`);
  const other = await serveFakeAdmin(t, { '/status': statusOf('b') });
  await t.rejects(run('dump', '--socket', socket, '--socket', other), { code: 'invalid' });
});
