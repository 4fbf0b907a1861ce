// SPDX-License-Identifier: Apache-2.0
// The launcher on machines that lack things. Each runs a copy of it in an empty folder, where
// nothing is set up, with programs of the test's own in front of the system's.
import { spawn } from 'node:child_process';
import { chmodSync, copyFileSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { root } from '../scripts/steps.ts';

const nobody = 65_534;

interface Machine {
  /** Programs in front of the system's: name to shell script. */
  readonly programs?: Readonly<Record<string, string>>;
  readonly uid?: number;
  /** Whether it is one of continuous integration. */
  readonly ci?: boolean;
}

interface Ended {
  readonly code: number | null;
  readonly stderr: string;
}

function weftOn(t: Test, machine: Machine, args: readonly string[]): Promise<Ended> {
  // Not below the clone: another user must be able to reach it.
  const folder = mkdtempSync(join(tmpdir(), 'weft-launcher-'));
  t.teardown(() => rmSync(folder, { recursive: true }));
  chmodSync(folder, 0o755);
  copyFileSync(join(root, 'weft'), join(folder, 'weft'));
  mkdirSync(join(folder, 'bin'));
  for (const [name, script] of Object.entries(machine.programs ?? {})) {
    writeFileSync(join(folder, 'bin', name), `#!/bin/sh\n${script}\n`, { mode: 0o755 });
  }
  const { CI: _, ...env } = process.env;
  return new Promise((resolve) => {
    const child = spawn(join(folder, 'weft'), [...args], {
      env: {
        ...env,
        ...(machine.ci ? { CI: 'true' } : {}),
        PATH: `${folder}/bin:/usr/sbin:/usr/bin:/sbin:/bin`,
      },
      stdio: ['ignore', 'ignore', 'pipe'],
      ...(machine.uid === undefined ? {} : { uid: machine.uid, gid: machine.uid }),
    });
    let stderr = '';
    child.stderr?.on('data', (chunk: Buffer) => {
      stderr += chunk.toString();
    });
    child.on('close', (code) => resolve({ code, stderr }));
  });
}

const asRoot = process.getuid?.() === 0 ? {} : { skip: 'needs root' };
const nothingInstalled = { 'dpkg-query': 'exit 1' };

t.test('the lab without root says so first and installs nothing', asRoot, async (t) => {
  const apt = 'echo apt ran >&2';
  const ended = await weftOn(t, { uid: nobody, programs: { 'apt-get': apt } }, ['lab', '--yes']);
  t.equal(ended.code, 3);
  t.match(ended.stderr, /^weft: the lab .* needs root: run {2}sudo \.\/weft lab\n$/);
});

t.test('the lab on an old kernel names the version it needs', asRoot, async (t) => {
  const ended = await weftOn(t, { programs: { uname: 'echo 5.9.1-2-amd64' } }, ['lab']);
  t.equal(ended.code, 3);
  t.match(ended.stderr, /Linux 5\.10 or later is needed, this is 5\.9\.1-2-amd64/);
});

t.test('the lab where namespaces are refused says how to get them', asRoot, async (t) => {
  const ended = await weftOn(t, { programs: { unshare: 'exit 1' } }, ['lab']);
  t.equal(ended.code, 3);
  t.match(ended.stderr, /refuses new network namespaces: use .*CAP_SYS_ADMIN/);
});

t.test('missing packages are listed, and without a terminal nothing is installed', async (t) => {
  const programs = { ...nothingInstalled, 'apt-get': 'echo apt ran >&2' };
  const ended = await weftOn(t, { programs }, ['setup']);
  t.equal(ended.code, 3);
  t.match(ended.stderr, /^Weft needs these system packages: .* cmake .*nftables/);
  t.match(ended.stderr, /run {2}(sudo )?apt-get install --no-install-recommends .*cmake/);
  t.notMatch(ended.stderr, /apt ran/);
});

t.test('only the tests ask for the tools of the tests', async (t) => {
  const [setup, test] = await Promise.all([
    weftOn(t, { programs: nothingInstalled }, ['setup']),
    weftOn(t, { programs: nothingInstalled }, ['test']),
  ]);
  t.notMatch(setup.stderr, 'clang-format-14');
  t.match(test.stderr, 'clang-format-14');
});

t.test('a cargo that is too old is not taken', async (t) => {
  const old = { ...nothingInstalled, cargo: 'echo cargo 1.65.0' };
  const recent = { ...nothingInstalled, cargo: 'echo "cargo 1.78.0 (54d8815d0 2024-03-26)"' };
  t.match((await weftOn(t, { programs: old }, ['setup'])).stderr, 'cargo-web');
  t.notMatch((await weftOn(t, { programs: recent }, ['setup'])).stderr, 'cargo-web');
});

t.test('a step that fails shows its output and ends the set-up', asRoot, async (t) => {
  const programs = { ...nothingInstalled, 'apt-get': 'echo no such mirror; exit 100' };
  const ended = await weftOn(t, { programs }, ['setup', '--yes']);
  t.equal(ended.code, 1);
  t.match(ended.stderr, /system packages +failed\n(.*\n)*no such mirror\n/);
});

t.test('before the set-up, help is there and asks for nothing', async (t) => {
  const ended = await weftOn(t, { programs: nothingInstalled }, ['--help']);
  t.equal(ended.code, 0);
  t.match(ended.stderr, /sudo \.\/weft lab/);
});

t.test('set-up wants the tools of npm run check in continuous integration', asRoot, async (t) => {
  const machine = { uid: nobody, programs: nothingInstalled };
  const byHand = await weftOn(t, machine, ['setup']);
  t.match(byHand.stderr, / ninja-build/);
  t.notMatch(byHand.stderr, /clang-format-14|cppcheck/);
  const inCi = await weftOn(t, { ...machine, ci: true }, ['setup']);
  t.match(inCi.stderr, / clang-format-14 .* cppcheck /);
});
