// SPDX-License-Identifier: Apache-2.0
// Whatever an application, or a resolver, sends: nothing throws, and what is answered is an answer
// to what was asked. dns-packet reads the answers.
import { decode, encode, type OptAnswer } from 'dns-packet';
import t from 'tap';
import {
  addressAnswer,
  errorAnswer,
  isAnswerTo,
  parseQuery,
  type Query,
  queryBytesMax,
  rcodes,
  relayed,
  truncatedAnswer,
  udpLimitOf,
} from '../../../../ztunnel/dns/message.ts';
import { fuzzSeconds, mutate, randomOf } from '../../../support/mutate.ts';

const opt: OptAnswer = {
  ...{ type: 'OPT', name: '.', udpPayloadSize: 1232, extendedRcode: 0, ednsVersion: 0 },
  ...{ flags: 0x8000, flag_do: true, options: [] },
};

function seedOf(type: 'A' | 'AAAA' | 'TXT', name: string, additionals: OptAnswer[] = []): Buffer {
  return encode({ type: 'query', id: 7, flags: 0x0100, questions: [{ type, name }], additionals });
}

const queries = [
  seedOf('A', 'web.demo.svc.cluster.local'),
  seedOf('AAAA', 'web.demo.svc.cluster.local', [opt]),
  seedOf('TXT', `${'a.'.repeat(100)}b`, [opt]),
];

const addresses = Array.from({ length: 30 }, (_, i) => `10.0.0.${i}`);

function answersOf(query: Query): Uint8Array[] {
  const limit = udpLimitOf(query);
  return [
    addressAnswer(query, addresses, 'cluster.local', limit),
    addressAnswer(query, [], 'cluster.local', limit),
    errorAnswer(query, rcodes.servFail),
    truncatedAnswer(query),
  ];
}

function checkAnswer(bytes: Uint8Array, asked: Uint8Array): void {
  const said = Buffer.from(bytes);
  const { type } = decode(said);
  const sameId = said.readUInt16BE(0) === Buffer.from(asked).readUInt16BE(0);
  if (type !== 'response' || !sameId || bytes.length > queryBytesMax) {
    throw new Error('an answer to something else');
  }
}

function judge(asked: Buffer, mutatedAnswer: Buffer): boolean {
  const parsed = parseQuery(asked);
  if (parsed.kind === 'drop') {
    return false;
  }
  if (parsed.kind === 'answer') {
    checkAnswer(parsed.bytes, asked);
    return false;
  }
  const { query } = parsed;
  for (const answer of answersOf(query)) {
    checkAnswer(answer, asked);
    if (!isAnswerTo(query, query.id, answer)) {
      throw new Error('not an answer to its own query');
    }
  }
  if (isAnswerTo(query, query.id, mutatedAnswer)) {
    relayed(mutatedAnswer, query, true);
  }
  return true;
}

t.setTimeout((fuzzSeconds() + 30) * 1000);

t.test('mutated queries and answers', (t) => {
  const seed = Number(process.env['WEFT_FUZZ_SEED'] ?? Date.now() % 1_000_000);
  const random = randomOf(seed);
  const replies = queries.flatMap((bytes) => {
    const parsed = parseQuery(bytes);
    return parsed.kind === 'query' ? answersOf(parsed.query).map((each) => Buffer.from(each)) : [];
  });
  const until = performance.now() + 1000 * fuzzSeconds();
  let runs = 0;
  let parsed = 0;
  while (performance.now() < until) {
    const asked = mutate(queries, random);
    try {
      parsed += Number(judge(asked, mutate(replies, random)));
    } catch (error) {
      t.fail(`seed ${seed}, query ${asked.toString('hex')}: ${String(error)}`);
      break;
    }
    runs += 1;
  }
  t.ok(parsed > runs / 100, `${runs} queries, ${parsed} of them well formed`);
  t.end();
});
