// SPDX-License-Identifier: Apache-2.0
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { parse } from 'yaml';
import { meshOf } from '../../../../src/bench/mesh.ts';
import { allVariants } from '../../../../src/bench/variants/all.ts';
import { ztunnel } from '../../../../src/bench/variants/ztunnel.ts';
import {
  environmentOf,
  instancePod,
  instancePods,
  versionOf,
  workloadsOf,
} from '../../../../src/bench/ztunnel/config.ts';
import { readPods } from '../../../../src/lab/mesh-files.ts';
import { labNames, planLab } from '../../../../src/lab/topology.ts';
import { checkFolder } from '../../../../src/registry/check-folder.ts';

const names = labNames('config', '/sys/fs/cgroup');

t.test('every pod is a workload that speaks HBONE, under the name its agent tells', async (t) => {
  const folder = t.testdir({ 'mesh.yaml': meshOf([ztunnel]) });
  const { pods } = planLab(names, readPods(folder));
  const { workloads, ...rest } = parse(workloadsOf(pods));
  t.same(rest, { services: [], policies: [] });
  t.equal(workloads.length, 4);
  t.same(workloads[2], {
    uid: 'Kubernetes//Pod/ztunnel/ztunnel-server',
    name: 'ztunnel-server',
    namespace: 'ztunnel',
    serviceAccount: 'server',
    node: 'node-b',
    workloadIps: ['10.77.2.10', 'fd77:0:0:2::10'],
    protocol: 'HBONE',
    services: {},
    trustDomain: 'cluster.local',
    clusterId: 'Kubernetes',
  });
});

t.test('an instance has one worker, no istiod and no access log', async (t) => {
  const environment = environmentOf({
    ...{ node: 'node-a', workloadsFile: '/w.yaml', zds: '/zds.sock' },
    ...{ ca: '10.77.1.9:15012', rootFile: '/root.pem' },
  });
  t.same(environment, [
    'NODE_NAME=node-a',
    'ZTUNNEL_WORKER_THREADS=1',
    'RUST_LOG=error',
    'XDS_ADDRESS=',
    'LOCAL_XDS_PATH=/w.yaml',
    'CA_ADDRESS=https://10.77.1.9:15012',
    'CA_ROOT_CA=/root.pem',
    'INPOD_UDS=/zds.sock',
  ]);
});

t.test('the instances run in pods of their own, beside those of all variants', async (t) => {
  const folder = join(t.testdir(), 'mesh');
  mkdirSync(folder);
  const { nodes } = planLab(names, []);
  writeFileSync(join(folder, 'mesh.yaml'), meshOf(allVariants));
  writeFileSync(join(folder, 'instances.yaml'), instancePods(ztunnel.name, nodes));
  t.same(await checkFolder(folder), []);
  const { pods } = planLab(names, readPods(folder));
  for (const { name } of nodes) {
    const pod = pods.find((each) => each.name === instancePod(ztunnel.name, name));
    t.match(pod, { node: name, namespace: ztunnel.name, enrolled: false, containers: [] });
  }
  t.equal(new Set(pods.map(({ ipv4 }) => ipv4)).size, pods.length);
});

t.test('a version is read, or the revision of a build without one', async (t) => {
  const info = (version: string): string =>
    `version.BuildInfo{Version:"${version}", GitRevision:"aa", RustVersion:"1.95.0"}\n`;
  t.equal(versionOf(info('1.31.0')), '1.31.0');
  t.equal(
    versionOf(info(`${'0123456789abcdef'.repeat(2)}01234567-dirty`)),
    'of revision 0123456789ab',
  );
  t.equal(versionOf('something else'), undefined);
});
