// SPDX-License-Identifier: Apache-2.0
// How the processes that every node runs are started: lean, since there is one on each node.
import { execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';

const clone: string = new URL('../..', import.meta.url).pathname;

/** One process of a node. */
export interface NodeProcess {
  /** The source file of its main, relative to the clone. */
  readonly main: string;
}

/** The processes that have a bundle dist/NAME.js, by verb. */
export const nodeProcesses: Readonly<Record<string, NodeProcess>> = {
  ztunnel: { main: 'ztunnel/main.ts' },
  cni: { main: 'src/cni/main.ts' },
};

/** The threads of these processes that have a bundle of their own, by name: what they run. */
export const nodeThreads: Readonly<Record<string, string>> = {
  'dns-thread': 'ztunnel/dns/thread.ts',
};

/**
 * Flags of the JavaScript engine for these processes. Their young objects are few: with its usual
 * 16 MiB for each half of the nursery, V8 takes 17 MB more than they ever need.
 */
export const nodeFlags: readonly string[] = ['--max-semi-space-size=1'];

// What a bundle is made of; the launcher asks the same.
const sources = [
  ...[
    'ztunnel',
    'src',
    'native/index.ts',
    'native/capture.ts',
    'native/kernel-probe.ts',
    'native/pod-socket.ts',
    'native/gen',
  ],
  'package-lock.json',
];

/** The verb's bundle, when it is there and nothing it was made of is newer. */
export function freshBundleOf(verb: string, root: string = clone): string | undefined {
  const file = join(root, 'dist', `${verb}.js`);
  if (!existsSync(file)) {
    return undefined;
  }
  const args = [...sources, '-type', 'f', '-newer', file, '-print', '-quit'];
  return execFileSync('find', args, { cwd: root, encoding: 'utf8' }) === '' ? file : undefined;
}

/** The command line that runs a verb as the launcher would. */
export function commandOf(verb: string, args: readonly string[]): string[] {
  if (!(verb in nodeProcesses)) {
    return [process.execPath, join(clone, 'src/cli/main.ts'), verb, ...args];
  }
  const bundle = freshBundleOf(verb);
  const program = bundle === undefined ? [join(clone, 'src/cli/main.ts'), verb] : [bundle];
  return [process.execPath, ...nodeFlags, ...program, ...args];
}
