// SPDX-License-Identifier: Apache-2.0
// An empty network namespace for a test, which lasts as long as a process of ours in it. That ends
// with the test's own process, however that ends.
import { spawn } from 'node:child_process';
import { once } from 'node:events';

/** The namespace's file, until `close()`. */
export interface NetNamespace {
  readonly path: string;
  close(): Promise<void>;
}

/** Makes one; its loopback is down. Needs root. */
export async function makeNetNamespace(): Promise<NetNamespace> {
  const script = 'echo up; exec cat';
  const child = spawn('unshare', ['--net', 'sh', '-c', script], {
    stdio: ['pipe', 'pipe', 'inherit'],
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
