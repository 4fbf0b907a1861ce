// SPDX-License-Identifier: Apache-2.0
// An empty network namespace for a test, which lasts as long as a process of ours in it.
import { spawn } from 'node:child_process';
import { once } from 'node:events';

/** The namespace's file, until `close()`. */
export interface NetNamespace {
  readonly path: string;
  close(): Promise<void>;
}

/** Makes one; its loopback is down. Needs root. */
export async function makeNetNamespace(): Promise<NetNamespace> {
  const script = 'echo up; exec sleep 300';
  const child = spawn('unshare', ['--net', 'sh', '-c', script], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  await once(child.stdout, 'data');
  return {
    path: `/proc/${child.pid}/ns/net`,
    close: async () => {
      child.kill('SIGKILL');
      await once(child, 'exit');
    },
  };
}
