// SPDX-License-Identifier: Apache-2.0
import { execFileSync } from 'node:child_process';
import t from 'tap';
import {
  contentOf,
  context,
  derDepthMax,
  element,
  integer,
  isDer,
  itemsOf,
  octetString,
  oid,
  sequence,
  time,
} from '../../../src/ca/der.ts';

/** What OpenSSL makes of it. */
function parsed(der: Uint8Array): string {
  return execFileSync('openssl', ['asn1parse', '-inform', 'DER'], { input: der, encoding: 'utf8' });
}

t.test('lengths have one byte up to 127 and as many as they need from there', (t) => {
  for (const [size, header] of [
    [0, '0400'],
    [127, '047f'],
    [128, '048180'],
    [255, '0481ff'],
    [256, '04820100'],
    [65_536, '0483010000'],
  ] as const) {
    const der = octetString(Buffer.alloc(size));
    t.equal(der.subarray(0, header.length / 2).toString('hex'), header);
    t.equal(contentOf(der).length, size);
  }
  t.end();
});

t.test('integers are minimal and not negative', (t) => {
  for (const [bytes, der] of [
    ['', '020100'],
    ['0000', '020100'],
    ['01', '020101'],
    ['7f', '02017f'],
    ['80', '02020080'],
    ['000080', '02020080'],
    ['0100', '02020100'],
  ] as const) {
    t.equal(integer(Buffer.from(bytes, 'hex')).toString('hex'), der, bytes);
  }
  t.end();
});

t.test('OpenSSL reads object identifiers and times as they were meant', (t) => {
  t.match(parsed(oid('1.2.840.113549.1.1.11')), /sha256WithRSAEncryption/);
  t.match(parsed(oid('2.5.29.17')), /X509v3 Subject Alternative Name/);
  t.match(parsed(time(new Date('2049-12-31T23:59:59.999Z'))), /UTCTIME +:491231235959Z/);
  t.match(parsed(time(new Date('2050-01-01T00:00:00Z'))), /GENERALIZEDTIME +:20500101000000Z/);
  t.end();
});

t.test('what was put together is taken apart again', (t) => {
  const items = [integer(Buffer.of(5)), context(3, 'constructed', octetString(Buffer.alloc(200)))];
  t.same(itemsOf(sequence(...items)), items);
  t.same(itemsOf(sequence()), []);
  t.end();
});

t.test('an element that is longer than what holds it is refused', (t) => {
  t.throws(() => itemsOf(element(0x30, Buffer.of(0x04, 0x05, 0x00))), RangeError);
  t.throws(() => itemsOf(element(0x30, Buffer.of(0x04))), RangeError);
  t.end();
});

t.test('DER is one element with the shortest lengths, and nothing behind it', async (t) => {
  const nested = (depth: number): Buffer =>
    depth === 0 ? sequence() : sequence(nested(depth - 1));
  const long = octetString(Buffer.alloc(300));
  const inner = (hex: string) => sequence(Buffer.from(hex, 'hex'));
  for (const good of [
    sequence(),
    long,
    sequence(long, integer(Buffer.of(1))),
    nested(derDepthMax),
  ]) {
    t.equal(isDer(good), true, good.toString('hex', 0, 8));
  }
  const bad = [
    ['nothing', Buffer.alloc(0)],
    ['a tag alone', Buffer.of(0x30)],
    ['a byte behind it', Buffer.concat([sequence(), Buffer.of(0)])],
    ['two elements', Buffer.concat([sequence(), sequence()])],
    ['an indefinite length', Buffer.of(0x30, 0x80, 0, 0)],
    ['a long form of a short length', inner('04810100')],
    ['a leading zero', Buffer.concat([Buffer.of(0x04, 0x83, 0, 1, 44), Buffer.alloc(300)])],
    ['a length that leads out of what holds it', inner('040200')],
    ['a length of four bytes', Buffer.of(0x04, 0x84, 0xff, 0xff, 0xff, 0xff)],
    ['a length without its bytes', Buffer.of(0x04, 0x82, 1)],
    ['a tag of two bytes', Buffer.of(0x3f, 0x20, 0)],
    ['one level too many', nested(derDepthMax + 1)],
  ] as const;
  for (const [what, der] of bad) {
    t.equal(isDer(der), false, what);
  }
});
