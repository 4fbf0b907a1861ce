// SPDX-License-Identifier: Apache-2.0
// Whether this kernel may have the sockmap tier: what its gates say.
import { MeshError } from '../lib/error.ts';
import type { Capability } from '../lib/machine.ts';

const wanted = {
  name: 'sockmap tier',
  required: false,
  how: 'a kernel whose sockmaps keep what applications rely on; without it direct connections go by TCP',
} as const;

/** Tries the gates. Leaves nothing behind. Needs root. */
export async function probeSockmap(): Promise<Capability> {
  try {
    const { trySockmapGates } = await import('../../native/capture.ts');
    const gates = trySockmapGates();
    const failed = gates.filter(({ ok }) => !ok);
    const reasons = failed.map(({ name, reason }) => `${name} (${reason})`).join(', ');
    const passed = `${gates.length - failed.length} of ${gates.length} gates hold`;
    const ok = failed.length === 0;
    return { ...wanted, ok, seen: ok ? passed : `${passed}; refused by ${reasons}` };
  } catch (error) {
    const [seen = ''] = MeshError.from(error).message.split('\n');
    return { ...wanted, ok: false, seen };
  }
}
