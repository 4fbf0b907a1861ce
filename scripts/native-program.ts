// SPDX-License-Identifier: Apache-2.0
// Builds one program of native/ for release, and runs it: `node scripts/native-program.ts target
// [argument...]`. Ends with its exit status.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { MeshError } from '../src/lib/error.ts';
import { buildAddon } from './build.ts';
import { dependencyPrefix } from './deps.ts';
import { root, step } from './steps.ts';

const [target, ...args] = process.argv.slice(2);
if (target === undefined) {
  throw new MeshError('invalid', 'which program?');
}
await step(target, async () => buildAddon(await dependencyPrefix(), target));
const child = spawn(join(root, 'build/native', target), args, { stdio: 'inherit' });
const [code] = await once(child, 'exit');
process.exitCode = typeof code === 'number' ? code : 1;
