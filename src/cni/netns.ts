// SPDX-License-Identifier: Apache-2.0
// Files of network namespaces, as container runtimes name them.
import { type Stats, statfsSync, statSync } from 'node:fs';
import { MeshError } from '../lib/error.ts';
import { runProgram } from '../lib/program.ts';
import { inside } from './pod-routes.ts';

const nsfsMagic = 0x6e736673;
// What makes a path one that no namespace can be at.
const neverThere: ReadonlySet<unknown> = new Set(['ENOTDIR', 'ELOOP', 'ENAMETOOLONG']);

function codeOf(error: unknown): unknown {
  return error instanceof Error && 'code' in error ? error.code : undefined;
}

/** A path of our own descriptor: it stays the same file, whatever its first path leads to now. */
export function pathOfFd(fd: number): string {
  return `/proc/${process.pid}/fd/${fd}`;
}

/** Whether there is nothing at the path, which a refused open alone does not say. */
export function isGone(path: string): boolean {
  try {
    statSync(path);
    return false;
  } catch (error) {
    return codeOf(error) === 'ENOENT';
  }
}

/** Throws MeshError `invalid` when the descriptor of `path` is not one of a namespace. */
export function checkNamespace(fd: number, path: string): void {
  if (statfsSync(pathOfFd(fd)).type !== nsfsMagic) {
    throw new MeshError('invalid', `${path} is not a namespace`);
  }
}

/**
 * Says why a path could not be opened: `conflict` when nothing is there (any more), `invalid` when
 * it is nothing that can be a namespace, otherwise `error` as it was thrown.
 */
export function whyNotOpened(path: string, error: unknown): MeshError {
  let found: Stats;
  try {
    found = statSync(path);
  } catch (thrown) {
    const code = codeOf(thrown);
    if (code === 'ENOENT') {
      return new MeshError('conflict', `there is no namespace at ${path}`, { cause: error });
    }
    const never = neverThere.has(code);
    return never
      ? new MeshError('invalid', `${path} is not a namespace`, { cause: error })
      : MeshError.from(error);
  }
  return found.isFile()
    ? MeshError.from(error)
    : new MeshError('invalid', `${path} is not a namespace`, { cause: error });
}

// Where the agent runs, pods with hostNetwork do, too: rules there would capture the whole node.
function isOwn(netnsPath: string): boolean {
  const own = statSync('/proc/self/ns/net');
  const given = statSync(netnsPath, { throwIfNoEntry: false });
  return given?.ino === own.ino && given.dev === own.dev;
}

/**
 * Rejects with MeshError `invalid` when `netnsPath` is not one of a network namespace, or is the
 * node's own one.
 */
export async function checkPodNetns(netnsPath: string): Promise<void> {
  if (isOwn(netnsPath)) {
    throw new MeshError('invalid', `${netnsPath} is the node's own network namespace`);
  }
  const result = await runProgram('nsenter', [...inside(netnsPath), 'true']);
  if (result.code === 0) {
    return;
  }
  // The kernel's answer for a namespace of another kind.
  if (result.stderr.includes('Invalid argument')) {
    throw new MeshError('invalid', `${netnsPath} is not a network namespace`);
  }
  throw new MeshError('internal', result.stderr.trim());
}
