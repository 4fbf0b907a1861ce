// SPDX-License-Identifier: Apache-2.0
// The part of DER (X.690) that certificates are written in.

const longForm = 0x80;
const constructed = 0x20;
// A tag in more than one byte; nothing that we read has one.
const highTag = 0x1f;
const lengthDigitsMax = 3;

function lengthOf(bytes: number): Buffer {
  if (bytes < longForm) {
    return Buffer.of(bytes);
  }
  const digits: number[] = [];
  for (let rest = bytes; rest > 0; rest = Math.floor(rest / 256)) {
    digits.unshift(rest % 256);
  }
  return Buffer.of(longForm | digits.length, ...digits);
}

/** One element: tag, length and the contents one after another. */
export function element(tag: number, ...contents: readonly Uint8Array[]): Buffer {
  const size = contents.reduce((sum, { length }) => sum + length, 0);
  return Buffer.concat([Buffer.of(tag), lengthOf(size), ...contents]);
}

/** SEQUENCE. */
export function sequence(...items: readonly Uint8Array[]): Buffer {
  return element(0x30, ...items);
}

/** SET. The caller has put the items in order. */
export function set(...items: readonly Uint8Array[]): Buffer {
  return element(0x31, ...items);
}

/** The BOOLEAN true; false is a default wherever certificates have one, and left out. */
export const derTrue: Uint8Array = Buffer.of(0x01, 0x01, 0xff);

/** NULL. */
export const derNull: Uint8Array = Buffer.of(0x05, 0x00);

/** INTEGER from big-endian bytes of a number that is not negative. */
export function integer(bytes: Uint8Array): Buffer {
  const first = bytes.findIndex((byte) => byte !== 0);
  const short = first < 0 ? Buffer.of(0) : bytes.subarray(first);
  return (short[0] ?? 0) >= 0x80 ? element(0x02, Buffer.of(0), short) : element(0x02, short);
}

/** BIT STRING; `unused` counts the low bits of the last byte that do not belong to it. */
export function bitString(bytes: Uint8Array, unused = 0): Buffer {
  return element(0x03, Buffer.of(unused), bytes);
}

/** OCTET STRING. */
export function octetString(bytes: Uint8Array): Buffer {
  return element(0x04, bytes);
}

/** UTF8String. */
export function utf8String(text: string): Buffer {
  return element(0x0c, Buffer.from(text));
}

/** OBJECT IDENTIFIER from its dotted text. */
export function oid(text: string): Buffer {
  const [first = 0, second = 0, ...rest] = text.split('.').map(Number);
  const bytes = [first * 40 + second, ...rest].flatMap((arc) => {
    const digits = [arc % 128];
    for (let left = Math.floor(arc / 128); left > 0; left = Math.floor(left / 128)) {
      digits.unshift(0x80 | (left % 128));
    }
    return digits;
  });
  return element(0x06, Buffer.from(bytes));
}

/** UTCTime up to 2049 and GeneralizedTime from then on (RFC 5280 section 4.1.2.5). */
export function time(date: Date): Buffer {
  const digits = `${date.toISOString().replace(/[-:T]|\.\d+/g, '')}`;
  return date.getUTCFullYear() < 2050
    ? element(0x17, Buffer.from(digits.slice(2)))
    : element(0x18, Buffer.from(digits));
}

/** An element with a context-specific tag. */
export function context(
  number: number,
  kind: 'primitive' | 'constructed',
  ...contents: readonly Uint8Array[]
): Buffer {
  return element((kind === 'constructed' ? 0xa0 : 0x80) | number, ...contents);
}

/**
 * What stands behind an element's header. The bytes are those of a certificate or key that a library
 * has parsed: a length that leads out of them throws RangeError.
 */
export function contentOf(outer: Uint8Array): Buffer {
  const bytes = Buffer.from(outer.buffer, outer.byteOffset, outer.byteLength);
  return bytes.subarray(headerOf(bytes, 0));
}

/** The elements inside of one constructed element, each with its header. Throws as `contentOf`. */
export function itemsOf(outer: Uint8Array): Buffer[] {
  const bytes = contentOf(outer);
  const items: Buffer[] = [];
  for (let at = 0; at < bytes.length; ) {
    const end = endOf(bytes, at);
    items.push(bytes.subarray(at, end));
    at = end;
  }
  return items;
}

/** How deep `isDer` follows constructed elements; a certificate request has half of it. */
export const derDepthMax = 16;

/**
 * Whether bytes from the network are one element, whole and with nothing behind it, whose lengths
 * are all definite and as short as they can be, inside of constructed elements too. A parser that
 * takes more than that may see something else than the next one does. Never throws.
 */
export function isDer(bytes: Uint8Array): boolean {
  return derEnd(bytes, 0, bytes.length, derDepthMax) === bytes.length;
}

// Where the element at `at` ends; undefined when it is no DER, or leads out of what holds it.
function derEnd(bytes: Uint8Array, at: number, end: number, depth: number): number | undefined {
  const tag = bytes[at] ?? highTag;
  const body = derBody(bytes, at + 1, end);
  if (body === undefined || (tag & highTag) === highTag) {
    return undefined;
  }
  let inner: number | undefined = (tag & constructed) !== 0 ? body.start : body.end;
  while (inner !== undefined && inner < body.end) {
    inner = depth === 0 ? undefined : derEnd(bytes, inner, body.end, depth - 1);
  }
  return inner;
}

function derBody(
  bytes: Uint8Array,
  at: number,
  end: number,
): { readonly start: number; readonly end: number } | undefined {
  const first = bytes[at] ?? longForm;
  const digits = first < longForm ? 0 : first - longForm;
  const start = at + 1 + digits;
  if (first === longForm || digits > lengthDigitsMax || start > end) {
    return undefined;
  }
  const length = digits === 0 ? first : numberIn(bytes.subarray(at + 1, start));
  const isShort = digits === 0 || lengthOf(length).length === 1 + digits;
  return isShort && start + length <= end ? { start, end: start + length } : undefined;
}

function numberIn(digits: Uint8Array): number {
  return digits.reduce((number, digit) => number * 256 + digit, 0);
}

function headerOf(bytes: Buffer, at: number): number {
  const first = bytes.readUInt8(at + 1);
  return at + 2 + (first >= longForm ? first - longForm : 0);
}

function endOf(bytes: Buffer, at: number): number {
  const body = headerOf(bytes, at);
  const first = bytes.readUInt8(at + 1);
  const length = first < longForm ? first : bytes.readUIntBE(at + 2, first - longForm);
  if (body + length > bytes.length) {
    throw new RangeError('an element is longer than what holds it');
  }
  return body + length;
}
