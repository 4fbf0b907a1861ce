// SPDX-License-Identifier: Apache-2.0
import t from 'tap';
import {
  advertisementFrame,
  arpFrame,
  experimentalType,
  macFrame,
  packetFrame,
} from '../../../src/cni/guard-frames.ts';

const head = 14;

t.test('an IPv4 packet has its addresses, its length and a checksum that fits', async (t) => {
  const frame = packetFrame('192.0.2.254', '192.0.2.1');
  t.equal(frame.readUInt16BE(12), 0x0800);
  const packet = frame.subarray(head);
  t.equal(packet.readUInt16BE(2), packet.length);
  t.same([...packet.subarray(12, 20)], [192, 0, 2, 254, 192, 0, 2, 1]);
  let sum = 0;
  for (let at = 0; at < 20; at += 2) {
    sum += packet.readUInt16BE(at);
  }
  t.equal((sum & 0xffff) + (sum >> 16), 0xffff);
});

t.test('an IPv6 packet has its addresses, and nothing in it', async (t) => {
  const frame = packetFrame('2001:db8:ffff::254', '2001:db8::1');
  t.equal(frame.readUInt16BE(12), 0x86dd);
  t.equal(frame.length, head + 40);
  t.equal(frame.subarray(head + 8, head + 24).toString('hex'), '20010db8ffff00000000000000000254');
  t.equal(frame.subarray(head + 24).toString('hex'), '20010db8000000000000000000000001');
});

t.test('a request of ARP says who asks', async (t) => {
  const frame = arpFrame('192.0.2.254', '192.0.2.1');
  t.equal(frame.readUInt16BE(12), 0x0806);
  t.same([...frame.subarray(head + 14, head + 18)], [192, 0, 2, 254]);
  t.same([...frame.subarray(head + 24)], [192, 0, 2, 1]);
});

t.test('an advertisement says whose address it is, and has a checksum that fits', async (t) => {
  const packet = advertisementFrame('fe80::9', 'fd08:9::2').subarray(head);
  t.equal(packet.readUInt16BE(4), packet.length - 40);
  t.equal(packet.readUInt8(7), 255, 'it has passed no router');
  const message = packet.subarray(40);
  t.equal(message.readUInt8(0), 136);
  t.equal(message.subarray(8, 24).toString('hex'), 'fd080009000000000000000000000002');
  const pseudo = Buffer.from([0, 0, 0, message.length, 0, 0, 0, packet.readUInt8(6)]);
  const all = Buffer.concat([packet.subarray(8, 40), pseudo, message]);
  let sum = 0;
  for (let at = 0; at < all.length; at += 2) {
    sum += all.readUInt16BE(at);
  }
  while (sum > 0xffff) {
    sum = (sum & 0xffff) + (sum >> 16);
  }
  t.equal(sum, 0xffff);
});

t.test('a frame says to come from the MAC', async (t) => {
  const frame = macFrame('02:57:45:46:54:0a');
  t.equal(frame.subarray(6, 12).toString('hex'), '02574546540a');
  t.equal(frame.readUInt16BE(12), experimentalType);
});
