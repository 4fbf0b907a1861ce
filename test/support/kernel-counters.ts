// SPDX-License-Identifier: Apache-2.0
// What the programs in the kernel counted while a test did something.
import { KernelCapture } from './kernel-capture.ts';

/** How far each counter went since the last call, or since this one; those that did not are absent. */
export function counterSteps(): () => Record<string, number> {
  let before = KernelCapture.one.node.counters();
  return () => {
    const now = KernelCapture.one.node.counters();
    const steps = Object.entries(now).map(([name, value]) => [name, value - (before[name] ?? 0)]);
    before = now;
    return Object.fromEntries(steps.filter(([, step]) => step !== 0));
  };
}

/** One counter. */
export function countOf(name: string): number {
  return KernelCapture.one.node.counters()[name] ?? 0;
}
