// SPDX-License-Identifier: Apache-2.0
// Capture in the kernel as a later build would have it: compiled with another layout of the maps.
import { join } from 'node:path';
import { compileAll } from './bpf.ts';
import { buildAddon } from './build.ts';
import { root } from './steps.ts';

/** Builds it; resolves to the addon's file. Needs clang. */
export async function buildNextLayout(prefix: string): Promise<string> {
  const target = { folder: join(root, 'build/next-layout'), defines: ['-DWEFT_NEXT_LAYOUT'] };
  await compileAll(prefix, target);
  await buildAddon(prefix, 'next_layout');
  return join(root, 'build/next/next_layout.node');
}
