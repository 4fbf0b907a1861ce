// SPDX-License-Identifier: Apache-2.0
// dns-packet writes the queries and reads the answers, as another implementation would.
import { type Answer, decode, encode, type OptAnswer, type Packet } from 'dns-packet';
import t from 'tap';
import {
  addressAnswer,
  addressesMax,
  errorAnswer,
  isAnswerTo,
  parseQuery,
  plainUdpBytes,
  type Query,
  queryBytesMax,
  rcodes,
  relayed,
  truncatedAnswer,
  udpBytesMax,
  udpLimitOf,
  withId,
} from '../../../ztunnel/dns/message.ts';

const opt = (udpPayloadSize: number, flags = 0, ednsVersion = 0): OptAnswer => ({
  ...{ type: 'OPT', name: '.', udpPayloadSize, extendedRcode: 0, ednsVersion, flags },
  ...{ flag_do: false, options: [] },
});

function packetOf(init: Packet = {}): Buffer {
  const questions = [{ type: 'A', name: 'Web.demo.svc.cluster.local' } as const];
  return encode({ type: 'query', id: 7, flags: 0x0100, questions, ...init });
}

function queryOf(bytes: Uint8Array): Query {
  const parsed = parseQuery(bytes);
  if (parsed.kind !== 'query') {
    throw new Error(`parsed as ${parsed.kind}`);
  }
  return parsed.query;
}

// The types of dns-packet leave the code out.
function rcode(bytes: Uint8Array): string {
  return (decode(Buffer.from(bytes)) as { rcode?: string }).rcode ?? '';
}

// The code in the answer that a query got at once.
function refusal(bytes: Uint8Array): number | string {
  const parsed = parseQuery(bytes);
  return parsed.kind === 'answer' ? (parsed.bytes[3] ?? 0) & 0xf : parsed.kind;
}

t.test('a query is read: name in lower case, type, EDNS', (t) => {
  const plain = queryOf(packetOf());
  t.match(plain, { id: 7, name: 'web.demo.svc.cluster.local', type: 1, isInternet: true });
  t.equal(plain.edns, undefined);
  const extended = queryOf(packetOf({ additionals: [opt(1400, 0x8000)] }));
  t.same(extended.edns, { udpBytes: 1400, dnssecOk: true });
  const other = packetOf({ questions: [{ type: 'TXT', name: 'x.y', class: 'CH' }] });
  t.match(queryOf(other), { type: 16, isInternet: false });
  t.end();
});

t.test('labels with characters of no host name make no name', (t) => {
  const bytes = packetOf({ questions: [{ type: 'A', name: 'aXb.demo' }] });
  bytes[14] = '.'.charCodeAt(0);
  t.equal(queryOf(bytes).name, undefined, 'a dot inside of a label is no separator');
  t.equal(queryOf(packetOf({ questions: [{ type: 'A', name: 'a b.demo' }] })).name, undefined);
  t.equal(queryOf(packetOf({ questions: [{ type: 'SRV', name: '_x._tcp.y' }] })).name, '_x._tcp.y');
  t.end();
});

t.test('what is no query is dropped or refused by its code', (t) => {
  const withWord = (at: number, value: number): Buffer => {
    const bytes = packetOf();
    bytes.writeUInt16BE(value, at);
    return bytes;
  };
  const notify = 4 << 11;
  const rows: [string, Uint8Array, number | string][] = [
    ['nothing', new Uint8Array(), 'drop'],
    ['half a header', packetOf().subarray(0, 11), 'drop'],
    ['an answer', withWord(2, 0x8000), 'drop'],
    ['another operation', withWord(2, notify), rcodes.notImp],
    ['no question', withWord(4, 0), rcodes.formErr],
    ['two questions', withWord(4, 2), rcodes.formErr],
    ['a query with answers', withWord(6, 1), rcodes.formErr],
    ['a query with authorities', withWord(8, 1), rcodes.formErr],
    ['additionals that are not there', withWord(10, 1), rcodes.formErr],
    ['a pointer in the question', withWord(12, 0xc00c), rcodes.formErr],
    ['half a question', packetOf().subarray(0, 20), rcodes.formErr],
    ['two OPT records', packetOf({ additionals: [opt(512), opt(512)] }), rcodes.formErr],
  ];
  for (const [what, bytes, expected] of rows) {
    t.equal(refusal(bytes), expected, what);
  }
  const badVersion = parseQuery(packetOf({ additionals: [opt(512, 0, 1)] }));
  t.equal(badVersion.kind, 'answer');
  const { additionals } = decode(Buffer.from(badVersion.kind === 'answer' ? badVersion.bytes : []));
  t.match(additionals, [{ type: 'OPT', extendedRcode: rcodes.badVers >> 4 }]);
  t.end();
});

t.test('a query may be as long as the limit and no longer', (t) => {
  const padded = (length: number): Buffer => Buffer.concat([packetOf(), Buffer.alloc(length)]);
  const room = queryBytesMax - packetOf().length;
  t.equal(parseQuery(padded(room)).kind, 'query');
  t.equal(refusal(padded(room + 1)), rcodes.formErr);
  t.end();
});

t.test('an answer echoes id, question and "recursion desired", and is authoritative', (t) => {
  const query = queryOf(packetOf());
  const said = decode(Buffer.from(addressAnswer(query, ['10.0.0.1'], 'cluster.local', 512)));
  t.match(said, { id: 7, type: 'response', flag_aa: true, flag_rd: true, flag_ra: true });
  t.match(said.questions, [{ name: 'Web.demo.svc.cluster.local', type: 'A' }]);
  const record = { type: 'A', name: 'Web.demo.svc.cluster.local', ttl: 30, data: '10.0.0.1' };
  t.match(said.answers, [record]);
  t.same(said.additionals, [], 'no OPT where there was none');
  t.end();
});

t.test('no addresses are an empty answer with the start of authority', (t) => {
  const bytes = addressAnswer(queryOf(packetOf()), [], 'cluster.local', 512);
  const said = decode(Buffer.from(bytes));
  t.equal(rcode(bytes), 'NOERROR');
  t.same(said.answers, []);
  t.match(said.authorities, [{ type: 'SOA', name: 'cluster.local', data: { minimum: 30 } }]);
  t.end();
});

t.test('an answer of just the limit is whole, one byte less and it is truncated', (t) => {
  const query = queryOf(packetOf({ additionals: [opt(plainUdpBytes)] }));
  const addresses = Array.from({ length: 20 }, (_, i) => `10.0.0.${i}`);
  const { length } = addressAnswer(query, addresses, 'cluster.local', 65_535);
  const whole = decode(Buffer.from(addressAnswer(query, addresses, 'cluster.local', length)));
  t.equal(whole.answers?.length, 20);
  t.equal(whole.flag_tc, false);
  const cut = decode(Buffer.from(addressAnswer(query, addresses, 'cluster.local', length - 1)));
  t.match(cut, { flag_tc: true, flag_aa: true, answers: [] });
  t.match(cut.additionals, [{ type: 'OPT' }]);
  t.end();
});

t.test('the most addresses fit a message by TCP', (t) => {
  const query = queryOf(packetOf({ questions: [{ type: 'AAAA', name: `${'a.'.repeat(120)}b` }] }));
  const addresses = Array.from({ length: addressesMax + 1 }, (_, i) => `fd00::${i.toString(16)}`);
  const said = decode(Buffer.from(addressAnswer(query, addresses, 'b', 65_535)));
  t.equal(said.answers?.length, addressesMax);
  t.match(said.answers?.at(-1), { type: 'AAAA', data: 'fd00::3e7' });
  t.end();
});

t.test('UDP is limited to what the client says, from 512 to the maximum', (t) => {
  const limit = (...additionals: Answer[]): number =>
    udpLimitOf(queryOf(packetOf({ additionals })));
  t.equal(limit(), plainUdpBytes);
  t.equal(limit(opt(100)), plainUdpBytes);
  t.equal(limit(opt(1232)), 1232);
  t.equal(limit(opt(65_535)), udpBytesMax);
  t.end();
});

t.test('only the answer to the question under the id counts', (t) => {
  const query = queryOf(packetOf());
  const answer = withId(addressAnswer(query, ['10.0.0.1'], 'x', 512), 99);
  t.equal(isAnswerTo(query, 99, answer), true);
  t.equal(isAnswerTo(query, 98, answer), false, 'another id');
  t.equal(isAnswerTo(query, 7, packetOf()), false, 'a query');
  const other = queryOf(packetOf({ questions: [{ type: 'AAAA', name: 'web.demo' }] }));
  t.equal(isAnswerTo(other, 99, answer), false, 'another question');
  t.equal(isAnswerTo(query, 99, answer.subarray(0, 20)), false, 'half of it');
  const lower = queryOf(
    packetOf({ questions: [{ type: 'A', name: 'web.demo.svc.cluster.local' }] }),
  );
  t.equal(isAnswerTo(lower, 99, answer), true, 'case is not told apart');
  t.end();
});

t.test('"no such name" about a name that exists becomes "no such record"', (t) => {
  const query = queryOf(packetOf());
  const no = errorAnswer(query, rcodes.nxDomain);
  t.equal(rcode(relayed(withId(no, 5), query, true)), 'NOERROR');
  t.match(decode(relayed(withId(no, 5), query, false)), { id: 7, rcode: 'NXDOMAIN' });
  t.equal(rcode(relayed(errorAnswer(query, rcodes.servFail), query, true)), 'SERVFAIL');
  t.match(decode(Buffer.from(truncatedAnswer(query))), { flag_tc: true, flag_aa: false });
  t.end();
});
