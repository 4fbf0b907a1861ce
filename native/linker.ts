// SPDX-License-Identifier: Apache-2.0
// The BPF linker, which the build uses before there is an engine.
import { createRequire } from 'node:module';
import { MeshError } from '../src/lib/error.ts';

interface Addon {
  linkObjects(out: string, inputs: readonly string[]): void;
}

/** Links BPF object files into `out`. Throws MeshError `invalid` when they do not fit together. */
export function linkObjects(out: string, inputs: readonly string[]): void {
  const require = createRequire(import.meta.url);
  const addon = require('../build/Release/bpf_linker.node') as Addon;
  try {
    addon.linkObjects(out, inputs);
  } catch (error) {
    throw new MeshError('invalid', MeshError.from(error).message, { cause: error });
  }
}
