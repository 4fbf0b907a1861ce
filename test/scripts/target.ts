// SPDX-License-Identifier: Apache-2.0
import { readFileSync } from 'node:fs';
import t from 'tap';
import { arm64, toolchainArgs } from '../../scripts/target.ts';

t.test('another processor is told to CMake, and our own is not', async (t) => {
  t.strictSame(toolchainArgs(undefined), []);
  const [arg = '', ...rest] = toolchainArgs(arm64);
  t.strictSame(rest, []);
  const [, file = ''] = /^-DCMAKE_TOOLCHAIN_FILE=(.+)$/.exec(arg) ?? [];
  const text = readFileSync(file, 'utf8');
  // CMake's file and ours say the same.
  t.match(text, `set(CMAKE_CXX_COMPILER ${arm64.compiler})`);
  t.match(text, `set(CMAKE_CROSSCOMPILING_EMULATOR ${arm64.emulator.join(' ')})`);
});
