// SPDX-License-Identifier: Apache-2.0
// Ethernet frames that say to come from an address; whatever else is in them is looked at by nobody.
import { isIPv4 } from 'node:net';

const everybody = Buffer.alloc(6, 0xff);
const someMac = Buffer.from([2, 0, 0, 0, 0, 1]);
const noNextHeader = 59;
const udp = 17;
const icmpv6 = 58;
const allNeighbours = 'ff02::1';

/** The type of `macFrame`. */
export const experimentalType = 0x88b5;

function bytesOfV4(address: string): Buffer {
  return Buffer.from(address.split('.').map(Number));
}

/** The 16 bytes of an IPv6 address without an embedded IPv4 one. */
function bytesOfV6(address: string): Buffer {
  const [head = '', tail] = address.split('::');
  const words = (text: string): number[] =>
    text === '' ? [] : text.split(':').map((word) => Number.parseInt(word, 16));
  const [front, back] = [words(head), words(tail ?? '')];
  const all = [...front, ...new Array<number>(8 - front.length - back.length).fill(0), ...back];
  return Buffer.from(all.flatMap((word) => [word >> 8, word & 0xff]));
}

function frame(type: number, payload: Buffer, from: Buffer = someMac): Buffer {
  const head = Buffer.alloc(2);
  head.writeUInt16BE(type);
  return Buffer.concat([everybody, from, head, payload]);
}

function checksum(header: Buffer): number {
  let sum = 0;
  for (let at = 0; at < header.length; at += 2) {
    sum += header.readUInt16BE(at);
  }
  sum = (sum & 0xffff) + (sum >> 16);
  return ~(sum + (sum >> 16)) & 0xffff;
}

function ipv4Frame(source: string, to: string): Buffer {
  const header = Buffer.alloc(28);
  header.writeUInt16BE(0x4500, 0);
  header.writeUInt16BE(header.length, 2);
  header.writeUInt8(64, 8);
  header.writeUInt8(udp, 9);
  bytesOfV4(source).copy(header, 12);
  bytesOfV4(to).copy(header, 16);
  header.writeUInt16BE(checksum(header.subarray(0, 20)), 10);
  // Of UDP: from and to the port of those who discard, eight bytes, and no checksum.
  header.writeUInt16BE(9, 20);
  header.writeUInt16BE(9, 22);
  header.writeUInt16BE(8, 24);
  return frame(0x0800, header);
}

function ipv6Header(next: number, payloadBytes: number, source: string, to: string): Buffer {
  const header = Buffer.alloc(40);
  header.writeUInt8(0x60, 0);
  header.writeUInt16BE(payloadBytes, 4);
  header.writeUInt8(next, 6);
  // Neighbours have to be: a packet with less has passed a router.
  header.writeUInt8(255, 7);
  bytesOfV6(source).copy(header, 8);
  bytesOfV6(to).copy(header, 24);
  return header;
}

function ipv6Frame(source: string, to: string): Buffer {
  return frame(0x86dd, ipv6Header(noNextHeader, 0, source, to));
}

/** An IP packet from `source` to `to`, both of one family. */
export function packetFrame(source: string, to: string): Buffer {
  return isIPv4(source) ? ipv4Frame(source, to) : ipv6Frame(source, to);
}

/** An ARP request in which `source` asks who has `to`. */
export function arpFrame(source: string, to: string): Buffer {
  const head = Buffer.from([0, 1, 8, 0, 6, 4, 0, 1]);
  const target = Buffer.concat([Buffer.alloc(6), bytesOfV4(to)]);
  return frame(0x0806, Buffer.concat([head, someMac, bytesOfV4(source), target]));
}

/**
 * A neighbour advertisement by which `source` says to all neighbours that `target` is to be had at its
 * MAC, whatever they knew before.
 */
export function advertisementFrame(source: string, target: string): Buffer {
  const message = Buffer.alloc(32);
  message.writeUInt8(136, 0);
  message.writeUInt8(0x20, 4);
  bytesOfV6(target).copy(message, 8);
  // The option: whose target's address of the link, in units of eight bytes.
  message.writeUInt16BE(0x0201, 24);
  someMac.copy(message, 26);
  const header = ipv6Header(icmpv6, message.length, source, allNeighbours);
  const summed = Buffer.concat([header.subarray(8), Buffer.from([0, 0, 0, 32, 0, 0, 0, icmpv6])]);
  message.writeUInt16BE(checksum(Buffer.concat([summed, message])), 2);
  return frame(0x86dd, Buffer.concat([header, message]));
}

/** A frame of nothing that says to come from `mac`, of the type for experiments (IEEE 802). */
export function macFrame(mac: string): Buffer {
  const from = Buffer.from(mac.replaceAll(':', ''), 'hex');
  return frame(experimentalType, Buffer.alloc(46), from);
}
