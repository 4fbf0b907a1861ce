// SPDX-License-Identifier: Apache-2.0

const telling = /^(adx|aes|avx.*|bmi.*|gfni|pclmulqdq|sha_ni|vaes|vpclmulqdq|asimd|pmull|sha\d*)$/;

/** The flags of the first processor that arithmetic depends on, from the text of /proc/cpuinfo. */
export function cpuFlagsIn(cpuinfo: string): string[] {
  const [, flags = ''] = /^(?:flags|Features)\s*: (.*)$/m.exec(cpuinfo) ?? [];
  return flags
    .split(' ')
    .filter((flag) => telling.test(flag))
    .sort();
}
