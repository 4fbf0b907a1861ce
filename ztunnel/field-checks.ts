// SPDX-License-Identifier: Apache-2.0
// Checks of single fields that come from the control plane. Each throws MeshError `invalid`; the
// parsers that use them turn that into a Result.
import { MeshError } from '../src/lib/error.ts';

/** Longest name, hostname or uid that is taken, in characters. */
export const nameCharactersMax = 512;

/** Throws MeshError `invalid` with `sentence` when `holds` is false. */
export function check(holds: boolean, sentence: string): void {
  if (!holds) {
    throw new MeshError('invalid', sentence);
  }
}

/** An IP address is 4 or 16 bytes. */
export function checkAddress(address: Uint8Array): void {
  check(
    address.length === 4 || address.length === 16,
    `an address of ${address.length} bytes is neither IPv4 nor IPv6`,
  );
}

/** A TCP port that can be connected to. */
export function checkPort(port: number): void {
  check(port >= 1 && port <= 65535, `port ${port} is not in 1..65535`);
}

/** A name that is there, is not over long and has no control characters. */
export function checkName(name: string, what: string): void {
  check(name !== '', `${what} is missing`);
  check(name.length <= nameCharactersMax, `${what} is over ${nameCharactersMax} characters`);
  check(!/\p{Cc}/u.test(name), `${what} has control characters`);
}
