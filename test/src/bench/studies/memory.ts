// SPDX-License-Identifier: Apache-2.0
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import {
  emptyPods,
  kernelKbOf,
  type MemoryReading,
  memoryOf,
  memoryRows,
} from '../../../../src/bench/studies/memory.ts';
import { readPods } from '../../../../src/lab/mesh-files.ts';
import { planLab } from '../../../../src/lab/topology.ts';

function reading(
  what: MemoryReading['what'],
  count: number,
  rssKb: number,
  place: MemoryReading['place'] = 'node-a',
): MemoryReading {
  return { variant: 'weft', place, what, count, rssKb, anonymousKb: rssKb - 1_000 };
}

t.test('reads what is resident, and how much of that is the process alone', async (t) => {
  const status = 'Name:\tx\nVmRSS:\t   5120 kB\nRssAnon:\t    4096 kB\nRssFile:\t 1024 kB\n';
  t.strictSame(memoryOf(status), { rssKb: 5120, anonymousKb: 4096 });
  t.throws(() => memoryOf('Name:\tx\n'), { code: 'unsupported' });
});

t.test('each step is divided by what it added', async (t) => {
  const readings = [
    reading('pods', 0, 50_000),
    reading('pods', 10, 50_500),
    reading('connections', 0, 51_000),
    reading('connections', 0, 40_000, 'node-b'),
    reading('connections', 0, 9_900, 'kernel'),
    reading('connections', 1, 9_011, 'kernel'),
    reading('connections', 1_000, 54_000),
    reading('connections', 1_000, 42_000, 'node-b'),
    reading('connections', 1_000, 20_000, 'kernel'),
    reading('connections', 5_000, 62_000),
  ];
  const rows = memoryRows(readings, ['weft']);
  t.strictSame(
    new Map(rows.map(({ figure, spread }) => [figure, spread.median])),
    new Map([
      ['node-a, resident at rest', 50_000],
      ['node-a, each of pods, 0 to 10', 50],
      ['node-b, resident at rest', 40_000],
      ['node-a, each of connections, 0 to 1000', 3],
      ['node-b, each of connections, 0 to 1000', 2],
      ['kernel, each of connections, 1 to 1000', 11],
      ['node-a, each of connections, 1000 to 5000', 2],
    ]),
  );
});

t.test('reads what the kernel holds', async (t) => {
  const sockstat = 'sockets: used 9\nTCP: inuse 2 orphan 0 tw 0 alloc 3 mem 25\n';
  t.equal(kernelKbOf('Slab:    1000 kB\n', sockstat), 1100);
  t.throws(() => kernelKbOf('Slab: 1000 kB\n', ''), { code: 'unsupported' });
});

t.test('the pods it makes up can be built by the lab', async (t) => {
  const folder = join(t.testdir(), 'mesh');
  mkdirSync(folder);
  const namespace = `apiVersion: v1
kind: Namespace
metadata:
  name: weft
  labels:
    istio.io/dataplane-mode: ambient
`;
  writeFileSync(join(folder, 'namespace.yaml'), namespace);
  writeFileSync(join(folder, 'ten.yaml'), emptyPods('weft', 0, 10));
  writeFileSync(join(folder, 'more.yaml'), emptyPods('weft', 10, 90));
  const names = { netnsPrefix: 'x-', cgroup: '/c', folder: '/f', keys: '/k' };
  const { pods } = planLab(names, readPods(folder));
  t.equal(pods.length, 100);
  t.ok(pods.every(({ enrolled, node }) => enrolled && node === 'node-a'));
});
