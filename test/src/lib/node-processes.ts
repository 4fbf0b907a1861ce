// SPDX-License-Identifier: Apache-2.0
import { rmSync, utimesSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import {
  commandOf,
  freshBundleOf,
  nodeFlags,
  nodeProcesses,
} from '../../../src/lib/node-processes.ts';
import { runProgram } from '../../../src/lib/program.ts';

const clone = new URL('../../..', import.meta.url).pathname;

function folder(t: Test): string {
  const root = t.testdir({
    'package-lock.json': '{}',
    ztunnel: { 'main.ts': '' },
    src: { lib: { 'error.ts': '' } },
    native: {
      'index.ts': '',
      'capture.ts': '',
      'kernel-probe.ts': '',
      'pod-socket.ts': '',
      gen: { 'tables_pb.js': '' },
    },
    dist: { 'ztunnel.js': '' },
  });
  const old = new Date(Date.now() - 60_000);
  for (const file of ['package-lock.json', 'ztunnel/main.ts', 'src/lib/error.ts']) {
    utimesSync(join(root, file), old, old);
  }
  for (const file of [
    'native/index.ts',
    'native/capture.ts',
    'native/kernel-probe.ts',
    'native/pod-socket.ts',
    'native/gen/tables_pb.js',
  ]) {
    utimesSync(join(root, file), old, old);
  }
  return root;
}

t.test('a bundle is taken while nothing it was made of is newer', async (t) => {
  const root = folder(t);
  const file = join(root, 'dist/ztunnel.js');
  t.equal(freshBundleOf('ztunnel', root), file);
  t.equal(freshBundleOf('cni', root), undefined, 'there is none of this verb');
  const later = new Date(Date.now() + 60_000);
  for (const source of ['src/lib/error.ts', 'package-lock.json', 'native/gen/tables_pb.js']) {
    const path = join(root, source);
    utimesSync(path, later, later);
    t.equal(freshBundleOf('ztunnel', root), undefined, source);
    const old = new Date(Date.now() - 60_000);
    utimesSync(path, old, old);
    t.equal(freshBundleOf('ztunnel', root), file, `${source} is old again`);
  }
  rmSync(file);
  t.equal(freshBundleOf('ztunnel', root), undefined);
});

t.test('processes of a node run lean, the others from their sources', async (t) => {
  for (const verb of Object.keys(nodeProcesses)) {
    t.match(commandOf(verb, ['--x']), [process.execPath, ...nodeFlags]);
    t.equal(commandOf(verb, ['--x']).at(-1), '--x');
  }
  const control = [process.execPath, join(clone, 'src/cli/main.ts'), 'control', '--help'];
  t.same(commandOf('control', ['--help']), control);
});

t.test('each command line runs its process', async (t) => {
  for (const verb of [...Object.keys(nodeProcesses), 'control']) {
    const [file = '', ...args] = commandOf(verb, ['--help']);
    const result = await runProgram(file, args, { timeoutMs: 30_000 });
    t.equal(result.code, 0, result.stderr);
    t.match(result.stdout, `Usage: weft ${verb}`);
  }
});
