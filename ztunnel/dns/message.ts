// SPDX-License-Identifier: Apache-2.0
// DNS messages as the proxy needs them: queries are parsed with care, own answers are written, and
// what a resolver answered is checked against what it was asked (RFC 1035, 2308, 6891).
import { type Answer, decode, encode, type OptAnswer } from 'dns-packet';
import { parseIp } from '../../src/lib/ip.ts';

/** Longest query that is looked at, in bytes; the resolvers of applications send far shorter ones. */
export const queryBytesMax = 4096;
/** Longest answer by UDP without EDNS, in bytes (RFC 1035 section 2.3.4). */
export const plainUdpBytes = 512;
/** Longest answer by UDP, whatever the client says it takes. */
export const udpBytesMax = 4096;
/** What we say that we take by UDP: fits a frame on any path. */
export const ownUdpBytes = 1232;
/** Seconds that a client may keep an answer of ours. */
export const ttlSeconds = 30;
/** Most addresses of one answer; with IPv6 they still fit a message of 64 KiB. */
export const addressesMax = 1000;

const headerBytes = 12;
const additionalsMax = 4;

/** Response codes (RFC 1035 section 4.1.1, RFC 6891 section 9). */
export const rcodes = {
  noError: 0,
  formErr: 1,
  servFail: 2,
  nxDomain: 3,
  notImp: 4,
  refused: 5,
  badVers: 16,
} as const;

/** Record types by number. */
export const types = { a: 1, aaaa: 28 } as const;

const classIn = 1;

/** One well-formed query with one question. */
export interface Query {
  readonly id: number;
  /** The second half of the header's first word, as it came. */
  readonly flags: number;
  /**
   * The name in lower case without the last dot; undefined when it has characters that no host
   * name has, so that it cannot be one of the mesh's.
   */
  readonly name: string | undefined;
  readonly type: number;
  readonly isInternet: boolean;
  /** The question as it came, to be echoed. */
  readonly question: Uint8Array;
  readonly edns: { readonly udpBytes: number; readonly dnssecOk: boolean } | undefined;
  readonly bytes: Uint8Array;
}

/** A query, or the answer it gets at once; no answer when it is not even a query. */
export type ParsedQuery =
  | { readonly kind: 'query'; readonly query: Query }
  | { readonly kind: 'answer'; readonly bytes: Uint8Array }
  | { readonly kind: 'drop' };

interface RawQuestion {
  readonly name: string | undefined;
  readonly end: number;
}

// The labels of the question, without compression: there is nothing before it to point at.
function readQuestion(bytes: Uint8Array): RawQuestion | undefined {
  const labels: string[] = [];
  let at = headerBytes;
  for (;;) {
    const length = bytes[at];
    if (length === undefined || length > 63) {
      return undefined;
    }
    at += 1;
    if (length === 0) {
      break;
    }
    labels.push(Buffer.from(bytes.subarray(at, at + length)).toString('latin1'));
    at += length;
  }
  const end = at + 4;
  if (end > bytes.length || at - headerBytes > 255) {
    return undefined;
  }
  const plain = labels.every((label) => /^[\w-]+$/.test(label));
  return { name: plain ? labels.join('.').toLowerCase() : undefined, end };
}

function headerOnly(id: number, flags: number, rcode: number): Uint8Array {
  const out = Buffer.alloc(headerBytes);
  out.writeUInt16BE(id, 0);
  // Operation and "recursion desired" are echoed.
  out.writeUInt16BE(0x8000 | (flags & 0x7900) | rcode, 2);
  return out;
}

function decoded(bytes: Uint8Array): readonly Answer[] | undefined {
  try {
    return decode(Buffer.from(bytes)).additionals ?? [];
  } catch {
    return undefined;
  }
}

function word(bytes: Uint8Array, at: number): number {
  return ((bytes[at] ?? 0) << 8) | (bytes[at + 1] ?? 0);
}

// What can be refused by the header alone: most garbage ends here.
function headerRefusal(bytes: Uint8Array, flags: number): number | undefined {
  if (((flags >> 11) & 0xf) !== 0) {
    return rcodes.notImp;
  }
  const [questions, answers, authorities] = [word(bytes, 4), word(bytes, 6), word(bytes, 8)];
  const usual = questions === 1 && answers === 0 && authorities === 0;
  const bounded = bytes.length <= queryBytesMax && word(bytes, 10) <= additionalsMax;
  return usual && bounded ? undefined : rcodes.formErr;
}

/** Parses what a client sent. Never throws. */
export function parseQuery(bytes: Uint8Array): ParsedQuery {
  if (bytes.length < headerBytes) {
    return { kind: 'drop' };
  }
  const id = word(bytes, 0);
  const flags = word(bytes, 2);
  if ((flags & 0x8000) !== 0) {
    return { kind: 'drop' };
  }
  const refusal = headerRefusal(bytes, flags);
  if (refusal !== undefined) {
    return { kind: 'answer', bytes: headerOnly(id, flags, refusal) };
  }
  const question = readQuestion(bytes);
  const additionals = question === undefined ? undefined : decoded(bytes);
  const opts = additionals?.filter((each): each is OptAnswer => each.type === 'OPT') ?? [];
  if (question === undefined || additionals === undefined || opts.length > 1) {
    return { kind: 'answer', bytes: headerOnly(id, flags, rcodes.formErr) };
  }
  const [opt] = opts;
  const query: Query = {
    id,
    flags,
    name: question.name,
    type: word(bytes, question.end - 4),
    isInternet: word(bytes, question.end - 2) === classIn,
    question: bytes.subarray(headerBytes, question.end),
    edns: opt && { udpBytes: opt.udpPayloadSize, dnssecOk: (opt.flags & 0x8000) !== 0 },
    bytes,
  };
  if (opt !== undefined && opt.ednsVersion !== 0) {
    return { kind: 'answer', bytes: errorAnswer(query, rcodes.badVers) };
  }
  return { kind: 'query', query };
}

/** The longest answer that may go to this client by UDP, in bytes. */
export function udpLimitOf({ edns }: Query): number {
  return Math.min(udpBytesMax, Math.max(plainUdpBytes, edns?.udpBytes ?? 0));
}

interface Parts {
  readonly rcode: number;
  readonly authoritative: boolean;
  readonly truncated: boolean;
  readonly answers: readonly Uint8Array[];
  readonly authorities: Answer[];
}

// The library writes header, authority and options; question and addresses go in between, the
// latter with their name as a pointer to the question's, which the library cannot write.
function assemble(query: Query, parts: Parts): Buffer {
  const { rcode, authoritative, truncated, answers, authorities } = parts;
  const { edns } = query;
  const opt: OptAnswer = {
    ...{ type: 'OPT', name: '.', udpPayloadSize: ownUdpBytes, extendedRcode: rcode >> 4 },
    ...{ ednsVersion: 0, flags: edns?.dnssecOk === true ? 0x8000 : 0, flag_do: false, options: [] },
  };
  const recursion = 0x0080;
  const flags =
    (authoritative ? 0x0400 : 0) | (truncated ? 0x0200 : 0) | (query.flags & 0x0110) | recursion;
  const frame = encode({
    type: 'response',
    id: query.id,
    flags: flags | (rcode & 0xf),
    authorities,
    additionals: edns === undefined ? [] : [opt],
  });
  const head = Buffer.from(frame.subarray(0, headerBytes));
  head.writeUInt16BE(1, 4);
  head.writeUInt16BE(answers.length, 6);
  return Buffer.concat([head, query.question, ...answers, frame.subarray(headerBytes)]);
}

function addressRecord(address: string): Uint8Array[] {
  const data = parseIp(address);
  if (data === undefined) {
    return [];
  }
  const out = Buffer.alloc(12 + data.length);
  out.writeUInt16BE(0xc000 | headerBytes, 0);
  out.writeUInt16BE(data.length === 4 ? types.a : types.aaaa, 2);
  out.writeUInt16BE(classIn, 4);
  out.writeUInt32BE(ttlSeconds, 6);
  out.writeUInt16BE(data.length, 10);
  out.set(data, 12);
  return [out];
}

// Who asks for what is not there is told for how long he may remember that (RFC 2308 section 3).
function startOfAuthority(zone: string): Answer {
  const data = {
    ...{ mname: `ns.dns.${zone}`, rname: `hostmaster.${zone}`, serial: 1 },
    ...{ refresh: 7200, retry: 1800, expire: 86_400, minimum: ttlSeconds },
  };
  return { type: 'SOA', name: zone, ttl: ttlSeconds, data };
}

/**
 * The authoritative answer with these addresses, which are of the family that was asked for; none
 * at all says that the name exists without such addresses. `zone` is where the name's authority
 * begins. What is longer than `bytesMax` is sent truncated and empty: the client comes again by
 * TCP.
 */
export function addressAnswer(
  query: Query,
  addresses: readonly string[],
  zone: string,
  bytesMax: number,
): Uint8Array {
  const answers = addresses.slice(0, addressesMax).flatMap(addressRecord);
  const authorities = answers.length === 0 ? [startOfAuthority(zone)] : [];
  const parts = { rcode: rcodes.noError, authoritative: true, truncated: false };
  const whole = assemble(query, { ...parts, answers, authorities });
  return whole.length <= bytesMax
    ? whole
    : assemble(query, { ...parts, truncated: true, answers: [], authorities: [] });
}

/** An answer that is no answer, with this code. */
export function errorAnswer(query: Query, rcode: number): Uint8Array {
  const parts = { authoritative: false, truncated: false, answers: [], authorities: [] };
  return assemble(query, { rcode, ...parts });
}

/** An empty answer that sends the client to TCP. */
export function truncatedAnswer(query: Query): Uint8Array {
  const parts = { authoritative: false, truncated: true, answers: [], authorities: [] };
  return assemble(query, { rcode: rcodes.noError, ...parts });
}

/** The same message under another id. */
export function withId(bytes: Uint8Array, id: number): Buffer {
  const out = Buffer.from(bytes);
  out.writeUInt16BE(id, 0);
  return out;
}

/** Whether `bytes` answers the query that was sent under `id` (RFC 5452 section 9.1). */
export function isAnswerTo(query: Query, id: number, bytes: Uint8Array): boolean {
  if (bytes.length < headerBytes || word(bytes, 0) !== id || (word(bytes, 2) & 0xf800) !== 0x8000) {
    return false;
  }
  const lower = (from: Uint8Array): string => Buffer.from(from).toString('latin1').toLowerCase();
  const { question } = query;
  const echoed = bytes.subarray(headerBytes, headerBytes + question.length);
  return word(bytes, 4) === 1 && lower(echoed) === lower(question);
}

/** The response code in the header. */
export function rcodeOf(bytes: Uint8Array): number {
  return (bytes[3] ?? 0) & 0xf;
}

/** The answer under the client's id; `exists` turns "no such name" into "no such record". */
export function relayed(bytes: Uint8Array, query: Query, exists: boolean): Buffer {
  const out = withId(bytes, query.id);
  if (exists && rcodeOf(out) === rcodes.nxDomain) {
    out[3] = (out[3] ?? 0) & 0xf0;
  }
  return out;
}
