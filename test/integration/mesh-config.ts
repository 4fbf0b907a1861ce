// SPDX-License-Identifier: Apache-2.0
// The settings of the whole mesh change while pods run: a document in its folder, and real pods of one
// node that are connected directly or not. Needs root.
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import type { SettingsReport } from '../../src/cni/settings.ts';
import { identityOf } from '../../src/lab/demo-policy.ts';
import { demo } from '../../src/lab/demo-traffic.ts';
import type { Lab } from '../../src/lab/lab.ts';
import { endOfLog, type LogRecord, waitForRecord } from '../../src/lab/log-watch.ts';
import type { PodPlan } from '../../src/lab/topology.ts';
import { eventually, skipLab, startLab } from '../support/trust-lab.ts';
import { askUnix } from '../support/unix-http.ts';

const neighbour = 'neighbour';
const file = 'mesh-config.yaml';
const effectMs = 5_000;

t.setTimeout(120_000);

function configOf(spec: string): string {
  return `apiVersion: weft.dev/v1alpha1
kind: MeshConfig
metadata: { name: default }
spec: ${spec}
`;
}

async function settings(lab: Lab): Promise<SettingsReport> {
  const { text } = await askUnix(lab.api('node-a'), 'GET', '/settings');
  return JSON.parse(text) as SettingsReport;
}

/** How one more connection to the neighbour went, as the proxy tells. */
async function wayOf(lab: Lab): Promise<string> {
  const { logFile } = lab.process('node-a/ztunnel');
  const from = endOfLog(logFile);
  const script = `exec 3<>/dev/tcp/${lab.pod(neighbour).ipv4}/${demo.bulkPort}`;
  await lab.inPod(demo.client, ['bash', '-c', script], { timeoutMs: 5_000 });
  const isIt = (record: LogRecord): boolean =>
    record['target'] === 'access' &&
    record['src.identity'] === identityOf(demo.client) &&
    record['direction'] === 'outbound';
  const seen = await waitForRecord(logFile, from, isIt, 'the connection in the access log');
  return String(seen['path'] ?? 'tunnel');
}

function becomes(lab: Lab, way: string): Promise<void> {
  return eventually(`pods are connected by ${way}`, effectMs, async () => {
    return (await wayOf(lab)) === way;
  });
}

/** Opens a connection that ends when somebody ends it. */
async function hold(lab: Lab, name: string): Promise<(msg: string) => Promise<LogRecord>> {
  const to = `/dev/tcp/${lab.pod(neighbour).ipv4}/${demo.bulkPort}`;
  const script = `exec 3<>${to}; echo '{"msg":"held"}'; cat <&3; echo '{"msg":"ended"}'`;
  const { logFile } = await lab.startInPod(demo.client, name, ['bash', '-c', script]);
  const says = (msg: string): Promise<LogRecord> =>
    waitForRecord(logFile, 0, (record) => record['msg'] === msg, msg, effectMs);
  await says('held');
  return says;
}

async function enrolBoth(lab: Lab, own: PodPlan['settings']): Promise<void> {
  for (const name of [demo.client, neighbour]) {
    await lab.enrol({ ...lab.pod(name), settings: own });
  }
}

async function rulesIn(lab: Lab): Promise<string> {
  return (await lab.inPod(demo.client, ['nft', 'list', 'ruleset'])).stdout;
}

async function wrongOnesAreRefused(t: Test, lab: Lab): Promise<void> {
  const { logFile } = lab.process('control');
  const from = endOfLog(logFile);
  await lab.writeMesh(file, configOf('{ sameNode: by-air }'));
  const isTold = ({ msg, field }: LogRecord): boolean =>
    msg === 'manifest' && field === 'spec.sameNode';
  const told = await waitForRecord(logFile, from, isTold, 'the error');
  t.match(told, { file, line: 4, reason: 'not one of direct, tunnel' });
  t.match((await settings(lab)).mesh, { sameNode: 'tunnel' }, 'the last good one stays');
}

t.test(
  'what the mesh says counts at once, and for who says nothing',
  { skip: skipLab },
  async (t) => {
    const lab = await startLab(t);
    await becomes(lab, 'direct');
    const says = await hold(lab, 'held');

    await t.test('a tunnel, also for what is open', async (t) => {
      await lab.writeMesh(file, configOf('{ sameNode: tunnel }'));
      await t.resolves(says('ended'), 'the direct connection is ended');
      await becomes(lab, 'tunnel');
      const { mesh, pods } = await settings(lab);
      t.same(mesh, { sameNode: 'tunnel' });
      t.match(pods, [{ sameNode: { value: 'tunnel', from: 'mesh' } }]);
      await wrongOnesAreRefused(t, lab);
    });

    await t.test('a pod goes before it, without a new capture', async (t) => {
      await enrolBoth(lab, { sameNode: 'direct' });
      await becomes(lab, 'direct');
      t.match((await settings(lab)).pods, [{ sameNode: { value: 'direct', from: 'pod' } }]);
      await enrolBoth(lab, {});
      await becomes(lab, 'tunnel');
    });

    await t.test('an agent that is started again knows it before anybody tells it', async (t) => {
      await lab.kill('node-a/cni');
      await lab.restart('node-a/cni');
      await lab.ready('node-a');
      t.equal(await wayOf(lab), 'tunnel');
    });

    await t.test('capture changes when a pod is enrolled again', async (t) => {
      await lab.writeMesh(file, configOf('{ capture: nft }'));
      await becomes(lab, 'direct');
      t.match((await settings(lab)).pods, [{ capture: { value: 'ebpf', from: 'node' } }]);
      t.equal(await rulesIn(lab), '');
      const { status } = await askUnix(lab.api('node-a'), 'DELETE', '/pods/demo%2Fclient');
      t.equal(status, 200);
      await lab.enrol(lab.pod(demo.client));
      t.match(await rulesIn(lab), /table inet weft/);
      t.match(
        (await settings(lab)).pods.find(({ name }) => name === demo.client),
        {
          capture: { value: 'nft', from: 'mesh' },
          sameNode: { value: 'tunnel', from: 'mesh' },
        },
      );
      t.equal(await wayOf(lab), 'tunnel');
    });

    await t.test('without a document each node is left to itself', async (t) => {
      rmSync(join(lab.meshFolder, file));
      await eventually('the mesh says nothing', effectMs, async () => {
        return Object.keys((await settings(lab)).mesh).length === 0;
      });
      t.match(
        (await settings(lab)).pods.find(({ name }) => name === neighbour),
        {
          capture: { value: 'ebpf', from: 'node' },
          sameNode: { value: 'direct', from: 'node' },
        },
      );
    });
  },
);
