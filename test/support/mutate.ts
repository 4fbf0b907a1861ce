// SPDX-License-Identifier: Apache-2.0

/** A seeded generator (mulberry32), so that a failing run can be repeated. */
export function randomOf(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let z = state;
    z = Math.imul(z ^ (z >>> 15), z | 1);
    z ^= z + Math.imul(z ^ (z >>> 7), z | 61);
    return ((z ^ (z >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** How long a fuzzer written in TypeScript runs: as long as the native ones. */
export function fuzzSeconds(): number {
  return Number(process.env['WEFT_FUZZ_SECONDS'] ?? (process.env['CI'] === 'true' ? 30 : 5));
}

type Mutation = (bytes: Buffer, below: (bound: number) => number, other: Buffer) => Buffer;

const mutations: readonly Mutation[] = [
  (bytes, below) => {
    const out = Buffer.from(bytes);
    out[below(out.length || 1)] = below(256);
    return out;
  },
  (bytes, below) => bytes.subarray(0, below(bytes.length + 1)),
  (bytes, below, other) =>
    Buffer.concat([
      bytes.subarray(0, below(bytes.length + 1)),
      other.subarray(below(other.length + 1)),
    ]),
  (bytes, below) => {
    const at = below(bytes.length + 1);
    const added = Buffer.alloc(below(40), below(256));
    return Buffer.concat([bytes.subarray(0, at), added, bytes.subarray(at)]);
  },
  (bytes) => Buffer.concat([bytes, bytes]),
];

/** One to four mutations of one of `seeds`, which may cross with another. */
export function mutate(seeds: readonly Buffer[], random: () => number): Buffer {
  const below = (bound: number): number => Math.floor(random() * bound);
  const pick = (): Buffer => seeds[below(seeds.length)] ?? Buffer.alloc(0);
  let bytes = pick();
  for (let left = 1 + below(4); left > 0; left--) {
    bytes = mutations[below(mutations.length)]?.(bytes, below, pick()) ?? bytes;
  }
  return bytes;
}
