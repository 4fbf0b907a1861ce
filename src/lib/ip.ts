// SPDX-License-Identifier: Apache-2.0
// IP addresses as bytes in network order: 4 of them or 16.
import { isIP, SocketAddress } from 'node:net';

/** An address and the number of its leading bits that count. */
export interface Cidr {
  readonly address: Uint8Array;
  readonly length: number;
}

function bytesOfV4(text: string): number[] {
  return text.split('.').map(Number);
}

// A dotted tail stands for the last two groups (RFC 4291 section 2.2, form 3).
function groupsOf(text: string): number[] {
  return text
    .split(':')
    .filter((group) => group !== '')
    .flatMap((group) => {
      const [a = 0, b = 0, c = 0, d = 0] = bytesOfV4(group);
      return group.includes('.') ? [a * 256 + b, c * 256 + d] : [Number.parseInt(group, 16)];
    });
}

function bytesOfV6(text: string): number[] {
  const [head = '', tail = ''] = text.split('::');
  const front = groupsOf(head);
  const back = groupsOf(tail);
  const zeros = new Array<number>(8 - front.length - back.length).fill(0);
  return [...front, ...zeros, ...back].flatMap((group) => [group >> 8, group & 255]);
}

/** The bytes of an address; undefined when `text` is none, or carries a zone. */
export function parseIp(text: string): Uint8Array | undefined {
  const family = text.includes('%') ? 0 : isIP(text);
  if (family === 0) {
    return undefined;
  }
  return Uint8Array.from(family === 4 ? bytesOfV4(text) : bytesOfV6(text));
}

/** The usual text of an address (RFC 5952). Throws for other than 4 or 16 bytes. */
export function formatIp(address: Uint8Array): string {
  if (address.length === 4) {
    return address.join('.');
  }
  const groups = Buffer.from(address).toString('hex').match(/.{4}/g) ?? [];
  return new SocketAddress({ address: groups.join(':'), family: 'ipv6' }).address;
}

function masked(address: Uint8Array, length: number): Uint8Array {
  return address.map((byte, index) => {
    const bits = Math.min(8, Math.max(0, length - 8 * index));
    return byte & (0xff00 >> bits);
  });
}

/**
 * A block `ADDRESS/LENGTH`, or a single address; undefined when `text` is neither. Bits past the
 * length are cleared.
 */
export function parseCidr(text: string): Cidr | undefined {
  const slash = text.indexOf('/');
  const address = parseIp(slash < 0 ? text : text.slice(0, slash));
  if (address === undefined) {
    return undefined;
  }
  const bits = 8 * address.length;
  if (slash < 0) {
    return { address, length: bits };
  }
  const suffix = text.slice(slash + 1);
  const length = /^(0|[1-9][0-9]{0,2})$/.test(suffix) ? Number(suffix) : Number.NaN;
  return length <= bits ? { address: masked(address, length), length } : undefined;
}
