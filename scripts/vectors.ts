// SPDX-License-Identifier: Apache-2.0
// Wycheproof's vectors for the kernels of native/crypto: fetched by a lock file of their own, and
// written as the lines that test/native/crypto/vectors.h reads.
import { createHash } from 'node:crypto';
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { prefixKey } from './deps.ts';
import { fetchSources } from './sources.ts';
import { root, step } from './steps.ts';

/** One test of a group, as far as it is read. */
interface Test {
  readonly tcId: number;
  readonly result: string;
  readonly msg?: string;
  readonly sig?: string;
  readonly public?: string;
  readonly private?: string;
  readonly shared?: string;
}

interface Group {
  readonly publicKey?: { readonly uncompressed?: string };
  readonly tests: readonly Test[];
}

/** Lines, and how many tests have no place in them: numbers of another size, other encodings. */
export interface Converted {
  readonly lines: readonly string[];
  readonly left: number;
}

const hexDigits = 64;
const spkiOfP256 = '3059301306072a8648ce3d020106082a8648ce3d030107034200';

/** `hex` as a number of 32 bytes; undefined when it is larger. */
function numberOf(hex: string): string | undefined {
  const digits = hex.replace(/^0+/, '');
  return digits.length > hexDigits ? undefined : digits.padStart(hexDigits, '0');
}

/** The coordinates of an uncompressed point. */
function pointOf(hex: string): string | undefined {
  return /^04[0-9a-f]{128}$/.test(hex) ? `${hex.slice(2, 66)} ${hex.slice(66)}` : undefined;
}

/** The number of a DER INTEGER that is the whole of `hex`: positive, minimal, of 32 bytes at most. */
function integerOf(hex: string): string | undefined {
  const [, size, value] = /^02(..)((?:00(?=[89a-f])|[0-7]).+)$/.exec(hex) ?? [];
  const whole = size !== undefined && Number.parseInt(size, 16) * 2 === value?.length;
  return whole && !/^00[0-7]/.test(value) ? numberOf(value) : undefined;
}

/** r and s of a signature in strict DER (X.690 section 10). */
export function derOf(hex: string): string | undefined {
  const body = hex.slice(4);
  const split = 4 + Number.parseInt(body.slice(2, 4), 16) * 2;
  const r = integerOf(body.slice(0, split));
  const s = integerOf(body.slice(split));
  const whole = hex.startsWith('30') && Number.parseInt(hex.slice(2, 4), 16) * 2 === body.length;
  return whole && r !== undefined && s !== undefined ? `${r} ${s}` : undefined;
}

const rawOf = (hex: string): string | undefined =>
  hex.length === 2 * hexDigits ? `${hex.slice(0, hexDigits)} ${hex.slice(hexDigits)}` : undefined;

const verdictOf = ({ result }: Test): string => (result === 'invalid' ? 'refuse' : 'accept');

/** One line, or undefined when a part is missing. */
const lineOf = (...parts: readonly (string | undefined)[]): string | undefined =>
  parts.includes(undefined) ? undefined : parts.join(' ');

type LineOf = (test: Test, group: Group) => string | undefined;

function verifyLine(file: string, signatureOf: (hex: string) => string | undefined): LineOf {
  return (test, group) => {
    const digest = createHash('sha256').update(Buffer.from(test.msg ?? '', 'hex'));
    const key = pointOf(group.publicKey?.uncompressed ?? '');
    const name = `${file}/${test.tcId}`;
    const signature = signatureOf(test.sig ?? '');
    return lineOf('ecdsa-verify', name, digest.digest('hex'), signature, key, verdictOf(test));
  };
}

function deriveLine(file: string, keyOf: (hex: string) => string | undefined): LineOf {
  return (test) => {
    if (test.result === 'acceptable') {
      // About encodings, and either answer will do.
      return undefined;
    }
    const secret = numberOf(test.private ?? '');
    const shared = test.result === 'invalid' ? '0'.repeat(hexDigits) : test.shared;
    const name = `${file}/${test.tcId}`;
    return lineOf('p256-derive', name, secret, keyOf(test.public ?? ''), shared, verdictOf(test));
  };
}

const x25519Line: LineOf = (test) => {
  // What is "acceptable" is computed, but a shared secret of zeros is told (RFC 7748 section 6.1).
  const verdict = /^0*$/.test(test.shared ?? '') ? 'refuse' : 'accept';
  const name = `x25519/${test.tcId}`;
  return lineOf('x25519-derive', name, test.private, test.public, test.shared, verdict);
};

const inSpki = (hex: string): string | undefined =>
  hex.startsWith(spkiOfP256) ? pointOf(hex.slice(spkiOfP256.length)) : undefined;

/** The files that are read, and how a test of each becomes a line. */
const files: Readonly<Record<string, LineOf>> = {
  ecdsa_secp256r1_sha256_test: verifyLine('ecdsa', derOf),
  ecdsa_secp256r1_sha256_p1363_test: verifyLine('ecdsa-p1363', rawOf),
  ecdh_secp256r1_test: deriveLine('ecdh', inSpki),
  ecdh_secp256r1_ecpoint_test: deriveLine('ecdh-ecpoint', pointOf),
  x25519_test: x25519Line,
};

/** The lines of one file's text. Throws on a file that is no JSON. */
export function convert(file: string, text: string): Converted {
  const { testGroups } = JSON.parse(text) as { testGroups: readonly Group[] };
  const toLine = files[file];
  const all = testGroups.flatMap((group) => group.tests.map((test) => toLine?.(test, group)));
  const lines = all.filter((line) => line !== undefined);
  return { lines, left: all.length - lines.length };
}

async function writeTo(file: string, lock: string, work: string): Promise<void> {
  const vendor = await step('test vectors', () => fetchSources(lock, work));
  const [, name, version] = /^(wycheproof)\s+(\S+)/m.exec(lock) ?? [];
  const lines = Object.keys(files).flatMap((each) => {
    const path = join(vendor, `${name}-${version}`, 'src/data', `${each}.json`);
    return convert(each, readFileSync(path, 'utf8')).lines;
  });
  const staged = join(work, 'lines');
  writeFileSync(staged, `${lines.join('\n')}\n`);
  renameSync(staged, file);
}

/**
 * The file of lines, build/test-vectors.txt, made from the user's cache, which is filled first
 * where it has none for this lock file. Throws MeshError when they cannot be had.
 */
export async function vectorFile(): Promise<string> {
  const lock = readFileSync(join(root, 'test/vectors/sources.lock'), 'utf8');
  const key = prefixKey([lock, readFileSync(import.meta.filename)]);
  const cache = join(process.env['XDG_CACHE_HOME'] ?? join(homedir(), '.cache'), 'weft');
  const cached = join(cache, `vectors-${key}.txt`);
  if (!existsSync(cached)) {
    mkdirSync(cache, { recursive: true });
    const work = mkdtempSync(join(cache, 'tmp-'));
    try {
      await writeTo(cached, lock, work);
    } finally {
      rmSync(work, { recursive: true, force: true });
    }
  }
  const file = join(root, 'build/test-vectors.txt');
  copyFileSync(cached, file);
  return file;
}
