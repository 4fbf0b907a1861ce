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

t.test('answers every mutated packet with a request or a named error', async (t) => {
  const seed = Number(process.env['WEFT_FUZZ_SEED'] ?? Date.now() % 2 ** 31);
  t.comment(`WEFT_FUZZ_SEED=${seed}`);
  const random = randomOf(seed);
  const seen = { requests: 0, errors: 0 };
  const wrong: string[] = [];
  const end = performance.now() + fuzzSeconds() * 1000;
  while (performance.now() < end) {
    for (let i = 0; i < turnPackets; i++) {
      const packet = mutate(seeds, random);
      const parsed = parseZdsRequest(packet);
      if (!parsed.ok) {
        seen.errors += 1;
        if (parsed.error.code !== 'invalid' || parsed.error.message === '') {
          wrong.push(`${packet.toString('hex')}: ${parsed.error.code}`);
        }
        continue;
      }
      seen.requests += 1;
      const { value } = parsed;
      const named = value.kind === 'snapshot sent' || value.uid.length > 0;
      const claimed = value.kind !== 'add' || (value.claim.name && value.claim.namespace);
      if (packet.length > packetBytesMax || !named || !claimed) {
        wrong.push(`${packet.toString('hex')}: taken`);
      }
    }
  }
  t.strictSame(wrong, []);
  t.ok(seen.requests > 1000 && seen.errors > 1000, `saw both kinds: ${JSON.stringify(seen)}`);
});
