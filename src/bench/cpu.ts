// SPDX-License-Identifier: Apache-2.0
import { readFileSync } from 'node:fs';

/** Linux counts process time in these for user space, whatever the kernel's own tick is. */
const ticksPerSecond = 100;

/** CPU seconds that a process and its threads have used, user and system, from /proc/PID/stat. */
export function cpuSecondsOf(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
  // The command's name is in brackets and may hold spaces: count from behind it.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return (Number(fields[11]) + Number(fields[12])) / ticksPerSecond;
}
