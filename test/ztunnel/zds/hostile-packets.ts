// SPDX-License-Identifier: Apache-2.0
// The ZDS parser is TypeScript, which libFuzzer cannot drive: this mutates real packets instead.
import { create, toBinary } from '@bufbuild/protobuf';
import t from 'tap';
import { WorkloadRequestSchema } from '../../../src/lib/gen/zds_pb.js';
import { packetBytesMax, parseZdsRequest } from '../../../ztunnel/zds.ts';
import { fuzzSeconds, mutate, randomOf } from '../../support/mutate.ts';

const workloadInfo = { name: 'web-1', namespace: 'demo', serviceAccount: 'server' };
const seeds = [
  create(WorkloadRequestSchema, { payload: { case: 'add', value: { uid: 'u-1', workloadInfo } } }),
  create(WorkloadRequestSchema, { payload: { case: 'del', value: { uid: 'u-1' } } }),
  create(WorkloadRequestSchema, { payload: { case: 'keep', value: { uid: 'u-2' } } }),
  create(WorkloadRequestSchema, { payload: { case: 'snapshotSent', value: {} } }),
].map((message) => Buffer.from(toBinary(WorkloadRequestSchema, message)));

const turnPackets = 2000;

t.setTimeout((fuzzSeconds() + 30) * 1000);

/** What is wrong with the answer to `packet`; empty when nothing is. */
function judge(packet: Buffer, parsed: ReturnType<typeof parseZdsRequest>): string {
  if (!parsed.ok) {
    const { code, message } = parsed.error;
    return code === 'invalid' && message !== '' ? '' : `refused by ${code} "${message}"`;
  }
  const { value } = parsed;
  const named = value.kind === 'snapshot sent' || value.uid !== '';
  const claimed = value.kind !== 'add' || (value.claim.name !== '' && value.claim.namespace !== '');
  return packet.length <= packetBytesMax && named && claimed ? '' : 'taken';
}

t.test('answers every mutated packet with a request or a named error', async (t) => {
  const seed = Number(process.env['WEFT_FUZZ_SEED'] ?? Date.now() % 2 ** 31);
  t.comment(`WEFT_FUZZ_SEED=${seed}`);
  const random = randomOf(seed);
  const seen = { requests: 0, errors: 0 };
  const wrong: string[] = [];
  const end = performance.now() + fuzzSeconds() * 1000;
  for (let i = 0; i % turnPackets !== 0 || performance.now() < end; i++) {
    const packet = mutate(seeds, random);
    const parsed = parseZdsRequest(packet);
    seen[parsed.ok ? 'requests' : 'errors'] += 1;
    const fault = judge(packet, parsed);
    if (fault !== '') {
      wrong.push(`${packet.toString('hex')}: ${fault}`);
    }
  }
  t.strictSame(wrong, []);
  t.ok(seen.requests > 1000 && seen.errors > 1000, `saw both kinds: ${JSON.stringify(seen)}`);
});
