// SPDX-License-Identifier: Apache-2.0
// Which resolvers a resolver configuration names (resolv.conf(5)).
import { isIP } from 'node:net';

/** Most resolvers that are asked, as in the C library. */
export const nameserversMax = 3;
/** Longest text that is looked at, in characters. */
export const resolvConfCharactersMax: number = 64 * 1024;

// One with a zone belongs to a link of the machine that wrote it down.
function isUsable(address: string): boolean {
  return isIP(address) !== 0 && !address.includes('%');
}

/** Keeps what can be asked from a pod, at most `nameserversMax`, in order. */
export function usableNameservers(addresses: readonly string[]): string[] {
  const loopback = /^(127\.|::1$|0:0:0:0:0:0:0:1$)/;
  return addresses
    .filter((address) => isUsable(address) && !loopback.test(address))
    .slice(0, nameserversMax);
}

/**
 * The addresses that a resolv.conf names, in order. What is not understood is passed over, as the
 * C library does. Loopback addresses are left out: they mean another process in each namespace.
 */
export function parseResolvConf(text: string): string[] {
  const lines = text.slice(0, resolvConfCharactersMax).split('\n');
  const named = lines.flatMap((line) => {
    const [word, address] = line.split(/\s+/);
    return word === 'nameserver' && address !== undefined ? [address] : [];
  });
  return usableNameservers(named);
}
