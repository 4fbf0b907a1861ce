// SPDX-License-Identifier: Apache-2.0
import { execFileSync } from 'node:child_process';
import t from 'tap';
import {
  contentOf,
  context,
  element,
  integer,
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
