// SPDX-License-Identifier: Apache-2.0
import { spawn } from 'node:child_process';
import { join } from 'node:path';
import t from 'tap';
import { root } from '../../../scripts/steps.ts';

interface Ended {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

function weft(args: readonly string[]): Promise<Ended> {
  return new Promise((resolve) => {
    const child = spawn(process.execPath, [join(root, 'src/cli/main.ts'), ...args]);
    let stdout = '';
    let stderr = '';
    child.stdout.on('data', (chunk: Buffer) => {
      stdout += chunk.toString();
    });
    child.stderr.on('data', (chunk: Buffer) => {
      stderr += chunk.toString();
    });
    child.on('close', (code) => resolve({ code, stdout, stderr }));
  });
}

t.test('help names every verb, and no arguments mean help', async (t) => {
  const [help, none, verb] = await Promise.all([weft(['--help']), weft([]), weft(['help'])]);
  t.equal(help.code, 0);
  for (const name of [
    ...['lab', 'control', 'ztunnel', 'cni', 'token', 'check', 'version', 'setup'],
    ...['status', 'explain', 'connections', 'certs', 'config'],
  ]) {
    t.match(help.stdout, new RegExp(`^  ${name} `, 'm'));
  }
  t.equal(none.stdout, help.stdout);
  t.equal(verb.stdout, help.stdout);
});

t.test('an unknown verb is bad usage', async (t) => {
  const ended = await weft(['nope']);
  t.equal(ended.code, 2);
  t.match(ended.stderr, /unknown command 'nope'/);
});

t.test('options behind the verb are the verb’s own', async (t) => {
  const help = await weft(['check', '--help']);
  t.equal(help.code, 0);
  t.match(help.stdout, /^Usage: weft check/);
  t.equal((await weft(['check', '--nope'])).code, 2);
  t.equal((await weft(['check', 'extra'])).code, 2);
  t.equal((await weft(['check', '-o', 'xml'])).code, 2);
});

t.test('version prints the project and what is linked in', async (t) => {
  const ended = await weft(['version']);
  t.equal(ended.code, 0);
  t.match(ended.stdout, /^weft +\d/m);
  t.match(ended.stdout, new RegExp(`^node +${process.versions.node}`, 'm'));
});
