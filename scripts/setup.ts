// SPDX-License-Identifier: Apache-2.0
// The part of the set-up that comes after system and npm packages; started by the launcher.
import { MeshError } from '../src/lib/error.ts';
import { buildBpf } from './bpf.ts';
import { buildAddon } from './build.ts';
import { bundle } from './bundle.ts';
import { dependencyPrefix } from './deps.ts';
import { generate } from './gen.ts';
import { step } from './steps.ts';

try {
  const prefix = await dependencyPrefix();
  await step('protobuf code', generate);
  await step('BPF linker', () => buildAddon(prefix, 'bpf_linker'));
  await step('BPF programs', () => buildBpf(prefix));
  await step('native engine', () => buildAddon(prefix));
  await step('bundles', bundle);
} catch (error) {
  process.stderr.write(`weft: ${MeshError.from(error).message}\n`);
  process.exitCode = 1;
}
