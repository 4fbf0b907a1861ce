// SPDX-License-Identifier: Apache-2.0
// What the kernel here refuses of what Weft can do without: there tests expect what is lost.
import { readFileSync } from 'node:fs';
import { tryFeatures } from '../../native/kernel-probe.ts';
import { cgroup2RootOf } from '../../src/lib/machine.ts';

/** Some kernels have all else, and refuse each program that runs over a map of sockets. */
const mayLack: Readonly<Record<string, RegExp>> = {
  iter_sockmap: /^load try_iter_sockmap: Operation not permitted/,
};

/** Such features, and the reasons. Needs root. */
export async function lackingHere(): Promise<Map<string, string>> {
  const root = cgroup2RootOf(readFileSync('/proc/mounts', 'utf8'));
  const lacking = (await tryFeatures(root)).filter(({ name, reason }) => {
    return mayLack[name]?.test(reason) === true;
  });
  return new Map(lacking.map(({ name, reason }) => [name, reason]));
}
