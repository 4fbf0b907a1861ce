// SPDX-License-Identifier: Apache-2.0
import { readFileSync } from 'node:fs';
import { Server, ServerCredentials } from '@grpc/grpc-js';
import t from 'tap';
import { type Arrival, MeasuredStream } from '../../../../src/bench/control/stream.ts';
import { createLog } from '../../../../src/lib/log.ts';
import { AdsServer, adsService } from '../../../../src/xds/server.ts';
import { typeUrls } from '../../../../src/xds/wire.ts';
import { added, resource } from '../../../support/encoded-resource.ts';
import { TestCa } from '../../../support/test-ca.ts';

// Large enough to come in many parts.
const bigBytes = 300 * 1024;

t.test('takes messages that come in parts or together, and answers each', async (t) => {
  const ca = await TestCa.create(t.testdir());
  const { cert, key } = await ca.issue('spiffe://mesh/control', { dnsOnly: 'localhost' });
  const [rootPem, chainPem, keyPem] = [ca.rootFile, cert, key].map((file) =>
    readFileSync(file, 'utf8'),
  ) as [string, string, string];
  const callerOf = () => ({ name: 'somebody', node: '', serial: 'a1' });
  const ads = new AdsServer({ log: createLog('test', 'silent'), callerOf });
  const server = new Server();
  server.addService(adsService, ads.handlers);
  const pair = { private_key: Buffer.from(keyPem), cert_chain: Buffer.from(chainPem) };
  const credentials = ServerCredentials.createSsl(Buffer.from(rootPem), [pair], true);
  const port = await new Promise<number>((resolve, reject) => {
    server.bindAsync('127.0.0.1:0', credentials, (error, bound) =>
      error === null ? resolve(bound) : reject(error),
    );
  });
  t.teardown(() => server.forceShutdown());
  const big = resource('big', '1', { bytes: new Uint8Array(bigBytes) });
  const small = ['a', 'b', 'c'].map((name) => resource(name, '1'));
  let revision = ads.publish({
    [typeUrls.authorization]: added(...small),
    [typeUrls.address]: added(big, ...small),
  });
  const stream = await MeasuredStream.open(`localhost:${port}`, { rootPem, keyPem, chainPem });
  t.teardown(() => stream.close());
  const arrivals: Arrival[] = [];
  let seen: () => void = () => undefined;
  stream.onArrival((arrival) => {
    arrivals.push(arrival);
    seen();
  });
  const until = async (count: number): Promise<void> => {
    while (arrivals.length < count) {
      await new Promise<void>((resolve) => {
        seen = resolve;
      });
    }
  };
  stream.subscribe(typeUrls.authorization);
  stream.subscribe(typeUrls.address);
  await until(2);
  t.same(
    arrivals.map(({ resources }) => resources),
    [3, 4],
  );
  t.ok((arrivals[1]?.bytes ?? 0) > bigBytes);
  // The next one comes only to a client that answered the one before.
  revision = ads.publish({ [typeUrls.address]: added(resource('a', '2')) });
  await until(3);
  ads.publish({ [typeUrls.address]: added(resource('a', '3')) });
  await until(4);
  t.same(ads.ackedBy(typeUrls.address, revision).acked, ['somebody']);
  t.equal(ads.counts.responses, 4);
});
