// SPDX-License-Identifier: Apache-2.0
// The verb as a user runs it: the whole mesh in real namespaces.
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { cpSync, existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import t from 'tap';
import { main } from '../../../src/lab/main.ts';
import type { Report } from '../../../src/lab/report.ts';
import { cgroup2RootOf } from '../../../src/lib/machine.ts';
import { type ProgramResult, runProgram } from '../../../src/lib/program.ts';

const skip = process.getuid?.() === 0 ? false : 'needs root';
const launcher = new URL('../../../src/cli/main.ts', import.meta.url).pathname;
const mesh = new URL('../../../src/lab/mesh', import.meta.url).pathname;
const name = `t${process.pid}`.slice(0, 10);
const timeoutMs = 480_000;

t.setTimeout(4 * timeoutMs);

function lab(...args: string[]): Promise<ProgramResult> {
  return runProgram(process.execPath, [launcher, 'lab', ...args], { timeoutMs });
}

function weft(...args: string[]): Promise<ProgramResult> {
  return runProgram(process.execPath, [launcher, ...args], { timeoutMs });
}

/** Everything on this machine that carries the lab's name. */
function traces(): string[] {
  const root = cgroup2RootOf(readFileSync('/proc/self/mounts', 'utf8')) ?? '';
  const netns = existsSync('/run/netns') ? readdirSync('/run/netns') : [];
  const found = netns.filter((each) => each.startsWith(`weft-${name}-`));
  const paths = [`${root}/weft-${name}`, `/run/weft/${name}`];
  return [...found, ...paths.filter((path) => existsSync(path))];
}

t.teardown(() => lab('down', '--name', name));

function start(): { child: ChildProcess; until(text: string): Promise<void> } {
  const args = [launcher, 'lab', '--name', name];
  const child = spawn(process.execPath, args, { stdio: ['ignore', 'ignore', 'pipe'] });
  const lines = createInterface({ input: child.stderr });
  return {
    child,
    until: async (text) => {
      for await (const line of lines) {
        if (line.includes(text)) {
          return;
        }
      }
    },
  };
}

t.test('bad flags and unknown pods are told from failures', async (t) => {
  t.equal(await main(['--output', 'xml']), 2);
  for (const bulk of ['0', '10241', '1.5', 'much']) {
    t.equal(await main(['--bulk', bulk]), 2);
  }
  await t.rejects(main(['exec', '--name', name, 'nobody', 'true']), { code: 'invalid' });
  await t.rejects(main(['--name', '../x']), { code: 'invalid' });
});

t.test('a kept lab holds every row, runs commands, and goes when told', { skip }, async (t) => {
  const result = await lab('--name', name, '--keep', '-o', 'json');
  const report = JSON.parse(result.stdout) as Report;
  for (const row of report.rows) {
    t.ok(row.ok, `${row.name}: ${row.seen}`);
  }
  t.equal(report.ok, true);
  t.equal(report.rows.length, 24);
  t.equal(result.code, 0);
  const asked = await lab(
    'exec',
    '--name',
    name,
    'client',
    '--',
    'curl',
    '-sS',
    'http://10.77.240.10/x',
  );
  t.match(asked, { code: 0, stdout: /^weft lab\npath \/x\n/ });
  t.match(await lab('exec', '--name', name, 'client', '--', 'sh', '-c', 'exit 7'), { code: 7 });
  t.match(await weft('status', '--lab', name, '-o', 'json'), { code: 0, stdout: /"ok":true/ });
  const explained = await weft('explain', 'client', 'web:80', '--lab', name);
  t.match(explained, { code: 0, stdout: /^path +tunnel: [\s\S]*^there +node-b says the same$/m });
  t.match(await weft('certs', '--lab', name), { code: 0, stdout: /sa\/server +Available/ });
  t.not(traces().length, 0);
  t.match(await lab('down', '--name', name), { code: 0 });
  t.same(traces(), []);
});

t.test('Ctrl-C removes everything', { skip }, async (t) => {
  const { child, until } = start();
  await until('node-b: agent and proxy');
  child.kill('SIGINT');
  const [code] = await once(child, 'exit');
  t.equal(code, 1);
  t.same(traces(), []);
});

t.test("what a killed lab left is in nobody's way", { skip }, async (t) => {
  const { child, until } = start();
  await until('node-b: agent and proxy');
  t.match(await lab('down', '--name', name), { code: 1, stderr: /runs this lab/ });
  child.kill('SIGKILL');
  await once(child, 'exit');
  t.not(traces().length, 0);
  const broken = join(t.testdir(), 'mesh');
  cpSync(mesh, broken, { recursive: true });
  const server = join(broken, 'server.yaml');
  writeFileSync(server, readFileSync(server, 'utf8').replace('[nginx', '[/no/such/nginx'));
  const next = await lab('--name', name, '--config', broken, '-o', 'json');
  t.equal(next.code, 1);
  t.match(JSON.parse(next.stdout), {
    ok: false,
    rows: [{ seen: /pods\/server\/web: exit code 12[67]/ }],
  });
  t.same(traces(), []);
});
