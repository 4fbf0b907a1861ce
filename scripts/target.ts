// SPDX-License-Identifier: Apache-2.0
// Processors other than this machine's that native/ is compiled for, and how their programs run here.
import { join } from 'node:path';
import { root } from './steps.ts';

/** A processor to compile for. */
export interface Target {
  /** As process.arch names it. */
  readonly arch: string;
  /** The C++ compiler. */
  readonly compiler: string;
  /** CMake's file that says so. */
  readonly toolchain: string;
  /** What a program of it is run by: a command and its first arguments. */
  readonly emulator: readonly string[];
}

/** By Debian's cross compiler and qemu's emulation of programs. */
export const arm64: Target = {
  arch: 'arm64',
  compiler: 'aarch64-linux-gnu-g++',
  toolchain: join(root, 'native/cmake/arm64.cmake'),
  emulator: ['qemu-aarch64', '-L', '/usr/aarch64-linux-gnu'],
};

/** What makes CMake compile for `target`; nothing for this machine's own processor. */
export function toolchainArgs(target: Target | undefined): string[] {
  return target === undefined ? [] : [`-DCMAKE_TOOLCHAIN_FILE=${target.toolchain}`];
}
