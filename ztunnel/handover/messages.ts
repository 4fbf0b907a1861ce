// SPDX-License-Identifier: Apache-2.0
// What a node proxy and the one that takes its place tell each other, on a SEQPACKET socket that
// only root reaches: a packet is a JSON object, and a socket rides along with the one that names it.
import * as z from 'zod';
import { MeshError } from '../../src/lib/error.ts';

/** Two proxies of different versions of these messages do not take over from each other. */
export const handoverVersion = 1;

// The longest name, "dns listen 127.0.0.1", with room to spare.
const nameMax = 64;
const uidMax = 256;

/** From the successor. */
export type Question =
  | { readonly kind: 'hello'; readonly version: number }
  /** The sockets of one pod. */
  | { readonly kind: 'sockets'; readonly uid: string }
  /** The successor is ready: let go of all that there can be only one of. */
  | { readonly kind: 'take' }
  /** The successor has it all, and serves. One that ends before it says so never was. */
  | { readonly kind: 'took' };

/** From its predecessor. */
export type Answer =
  | { readonly kind: 'welcome'; readonly build: string }
  | { readonly kind: 'refused'; readonly reason: string }
  /** One socket of the pod that was asked for. */
  | { readonly kind: 'socket'; readonly name: string }
  | { readonly kind: 'no more sockets' }
  /** Said first, since it fails where the successor has given up. */
  | { readonly kind: 'releasing' }
  | { readonly kind: 'released' }
  /** All that was open has ended, but for what had to be cut. */
  | { readonly kind: 'drained'; readonly cut: number };

const question: z.ZodType<Question> = z.discriminatedUnion('kind', [
  z.strictObject({ kind: z.literal('hello'), version: z.number() }),
  z.strictObject({ kind: z.literal('sockets'), uid: z.string().max(uidMax) }),
  z.strictObject({ kind: z.literal('take') }),
  z.strictObject({ kind: z.literal('took') }),
]);

const answer: z.ZodType<Answer> = z.discriminatedUnion('kind', [
  z.strictObject({ kind: z.literal('welcome'), build: z.string() }),
  z.strictObject({ kind: z.literal('refused'), reason: z.string() }),
  z.strictObject({ kind: z.literal('socket'), name: z.string().max(nameMax) }),
  z.strictObject({ kind: z.literal('no more sockets') }),
  z.strictObject({ kind: z.literal('releasing') }),
  z.strictObject({ kind: z.literal('released') }),
  z.strictObject({ kind: z.literal('drained'), cut: z.number().int().nonnegative() }),
]);

/** One packet. */
export function encode(message: Question | Answer): Uint8Array {
  return Buffer.from(JSON.stringify(message));
}

function decode<T>(schema: z.ZodType<T>, packet: Uint8Array): T {
  try {
    return schema.parse(JSON.parse(Buffer.from(packet).toString('utf8')));
  } catch (cause) {
    throw new MeshError('invalid', 'a message that a hand-over does not have', { cause });
  }
}

/** Throws MeshError `invalid`. */
export function decodeQuestion(packet: Uint8Array): Question {
  return decode(question, packet);
}

/** Throws MeshError `invalid`. */
export function decodeAnswer(packet: Uint8Array): Answer {
  return decode(answer, packet);
}
