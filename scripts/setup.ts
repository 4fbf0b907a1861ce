// SPDX-License-Identifier: Apache-2.0
// The part of the set-up that comes after system and npm packages; started by the launcher.
import { MeshError } from '../src/lib/error.ts';
import { areBuilt, buildBpf, hasCompiler } from './bpf.ts';
import { buildAddon } from './build.ts';
import { bundle } from './bundle.ts';
import { dependencyPrefix } from './deps.ts';
import { generate } from './gen.ts';
import { step } from './steps.ts';

/** Those that are there serve also where they could not be built. */
async function programs(prefix: string): Promise<void> {
  if (areBuilt()) {
    const where = hasCompiler() ? 'as they are' : 'prebuilt ones are used: no clang is here';
    process.stdout.write(`  ${'BPF programs'.padEnd(24)}${where}\n`);
    return;
  }
  await step('BPF programs', () => buildBpf(prefix));
}

try {
  const prefix = await dependencyPrefix();
  await step('protobuf code', generate);
  await programs(prefix);
  await step('native engine', () => buildAddon(prefix));
  await step('bundles', bundle);
} catch (error) {
  process.stderr.write(`weft: ${MeshError.from(error).message}\n`);
  process.exitCode = 1;
}
