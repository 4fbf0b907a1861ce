// SPDX-License-Identifier: Apache-2.0
// Whether this processor computes handshakes eight at a time, and from how many on it is worth it.
import { MeshError } from '../lib/error.ts';
import type { Capability } from '../lib/machine.ts';

const wanted = {
  name: 'handshakes in lanes',
  required: false,
  how: 'a processor with AVX-512 IFMA and VBMI2; without it the TLS library computes each handshake',
} as const;

/** Tries and measures, for some milliseconds. */
export async function probeHandshakeCrypto(): Promise<Capability> {
  try {
    const { probeCrypto } = await import('../../native/index.ts');
    const { avx512, mode, error, breakEvens } = probeCrypto();
    if (error !== '' || !avx512) {
      const why = error || `the processor has no AVX-512 IFMA; mode ${mode}`;
      return { ...wanted, ok: false, seen: why };
    }
    const worth = Object.entries(breakEvens).map(([name, lanes]) => {
      return `${name} ${lanes === 0 ? 'never' : lanes}`;
    });
    return { ...wanted, ok: true, seen: `mode ${mode}; lanes pay from ${worth.join(', ')} on` };
  } catch (error) {
    const [seen = ''] = MeshError.from(error).message.split('\n');
    return { ...wanted, ok: false, seen };
  }
}
