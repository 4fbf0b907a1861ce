// SPDX-License-Identifier: Apache-2.0
// Somebody else's program in the kernel, which is there until the test lets it go.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';

const script = fileURLToPath(new URL('foreign_program.py', import.meta.url));

/** One that is attached. */
export interface ForeignProgram {
  /** Resolves when it is gone. */
  detach(): Promise<void>;
}

/**
 * Attaches one at a hook of `place`, a cgroup or the file of a network namespace; `alone`: nobody
 * else may then, there or below. Needs root.
 */
export async function attachForeign(
  hook: string,
  place: string,
  alone = false,
): Promise<ForeignProgram> {
  const child = spawn('python3', [script, hook, place, ...(alone ? ['alone'] : [])], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  const [first] = await Promise.race([once(child.stdout, 'data'), once(child, 'exit')]);
  if (!Buffer.isBuffer(first)) {
    throw new Error(`no program could be attached at ${hook}`);
  }
  return {
    detach: async () => {
      const ended = once(child, 'exit');
      child.stdin.end();
      await ended;
    },
  };
}
