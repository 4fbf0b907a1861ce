// SPDX-License-Identifier: Apache-2.0
import t from 'tap';
import { formatIp, parseCidr, parseIp } from '../../../src/lib/ip.ts';

const hex = (bytes: Uint8Array | undefined) => bytes && Buffer.from(bytes).toString('hex');

t.test('reads addresses of both families', async (t) => {
  t.equal(hex(parseIp('10.77.0.255')), '0a4d00ff');
  t.equal(hex(parseIp('::')), '0'.repeat(32));
  t.equal(hex(parseIp('::1')), `${'0'.repeat(30)}01`);
  t.equal(hex(parseIp('fd77::a:1')), `fd77${'0'.repeat(20)}000a0001`);
  t.equal(hex(parseIp('fd77::')), `fd77${'0'.repeat(28)}`);
  t.equal(hex(parseIp('1:2:3:4:5:6:7:8')), '00010002000300040005000600070008');
  t.equal(hex(parseIp('::ffff:10.0.0.1')), `${'0'.repeat(20)}ffff0a000001`);
});

t.test('refuses what is no address', async (t) => {
  for (const text of ['', '10.0.0', '10.0.0.256', '010.0.0.1', 'fe80::1%eth0', '1::2::3', 'a']) {
    t.equal(parseIp(text), undefined, text);
  }
});

t.test('reads blocks, and clears the bits past their length', async (t) => {
  const cases: [string, string, number][] = [
    ['10.1.2.3', '0a010203', 32],
    ['10.1.2.3/0', '00000000', 0],
    ['10.255.2.3/12', '0af00000', 12],
    ['10.1.2.3/32', '0a010203', 32],
    ['fd77:1::1/17', `fd77${'0'.repeat(28)}`, 17],
    ['fd77::1/128', `fd77${'0'.repeat(26)}01`, 128],
  ];
  for (const [text, address, length] of cases) {
    const cidr = parseCidr(text);
    t.equal(hex(cidr?.address), address, text);
    t.equal(cidr?.length, length, text);
  }
});

t.test('refuses what is no block', async (t) => {
  for (const text of [
    '10.0.0.0/33',
    'fd77::/129',
    '10.0.0.0/',
    '10.0.0.0/-1',
    '10.0.0.0/08',
    '/8',
  ]) {
    t.equal(parseCidr(text), undefined, text);
  }
});

t.test('writes addresses the usual way', async (t) => {
  for (const text of ['10.0.0.1', '0.0.0.0', '::', '::1', 'fd00::1', '1:2:3:4:5:6:7:8']) {
    t.equal(formatIp(parseIp(text) ?? new Uint8Array()), text);
  }
  t.equal(formatIp(parseIp('2001:DB8:0:0::A') ?? new Uint8Array()), '2001:db8::a');
  t.throws(() => formatIp(Uint8Array.of(1, 2, 3)));
});
