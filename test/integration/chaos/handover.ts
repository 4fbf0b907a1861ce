// SPDX-License-Identifier: Apache-2.0
// Proxies are replaced under load, and the new one or the old one is killed at each step of it.
import { mkdtempSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import type { BulkResult } from '../../../src/lab/bulk.ts';
import { unenrolPod } from '../../../src/lab/cni-client.ts';
import { identityOf, msUntil, passes, underLoad } from '../../../src/lab/demo-policy.ts';
import { demo } from '../../../src/lab/demo-traffic.ts';
import type { Lab } from '../../../src/lab/lab.ts';
import type { LoadResult } from '../../../src/lab/load.ts';
import { endOfLog, type LogRecord, waitForRecord } from '../../../src/lab/log-watch.ts';
import { killProcess, type LabProcess } from '../../../src/lab/processes.ts';
import { ports } from '../../../src/lib/ports.ts';
import { skipLab, startLab } from '../../support/trust-lab.ts';

const stepMs = 20_000;
const bulkBytes = 256 << 20;
/** What a successor has said when it is killed. */
const milestones = [
  'taking over from a node proxy',
  'saved certificate in use',
  'pod added',
  'handing this node over',
] as const;
/** What keeps a successor from having all: a port that its own metrics have. */
const unable: readonly string[] = ['--admin', `127.0.0.1:${ports.metrics}`];
const deaths = [
  ['SIGKILL', 'SIGKILL'],
  ['SIGTERM', 'exit code 0'],
] as const;
const takenBack = 'the successor ended too early: this process goes on';

/** A pod that is captured by nftables. */
const filtered = 'filtered';
/** Two that come late. */
const late = 'late';
const later = 'later';

const podOf = (name: string, last: number, annotations = ''): string => `apiVersion: v1
kind: ServiceAccount
metadata: {name: ${name}, namespace: demo}
---
apiVersion: v1
kind: Pod
metadata:
  name: ${name}
  namespace: demo
  annotations: {${annotations}}
spec:
  nodeName: node-a
  serviceAccountName: ${name}
  containers:
    - name: shell
      command: [sleep, infinity]
status:
  podIPs:
    - ip: 10.77.1.${last}
    - ip: fd77:0:0:1::${last}
`;

t.setTimeout(240_000);

/** What is said in the log of a node's proxies from `from` on; the agent's is another file. */
function said(lab: Lab, process: string, from: number, msg: string): Promise<LogRecord> {
  const { logFile } = lab.process(process);
  return waitForRecord(logFile, from, (record) => record['msg'] === msg, msg, stepMs);
}

/** Starts a successor; resolves when it has the node. Answers the process before it. */
async function replaceProxy(lab: Lab, node: string): Promise<LabProcess> {
  const name = `${node}/ztunnel`;
  const from = endOfLog(lab.process(name).logFile);
  const before = await lab.replace(name);
  await said(lab, name, from, 'took over');
  return before;
}

/** Starts a successor that cannot take over to the end. */
function startUnable(lab: Lab, name: string): Promise<LabProcess> {
  return lab.restart(name, (command) => [...command, ...unable]);
}

/** The one before notices by what it reads, or by what it says to it meanwhile. */
const tellsOfItsEnd = ({ msg }: LogRecord): boolean =>
  msg === 'a successor disconnected' || msg === 'a hand-over failed';

type Death = 'SIGKILL' | 'SIGTERM';

/** Starts one and ends it when it, or its predecessor, has said `msg`. Answers how it ended. */
async function endAt(lab: Lab, node: string, msg: string, signal: Death): Promise<string> {
  const name = `${node}/ztunnel`;
  const from = endOfLog(lab.process(name).logFile);
  const successor = await startUnable(lab, name);
  await said(lab, name, from, msg);
  process.kill(successor.pid, signal);
  const { logFile } = lab.process(name);
  await waitForRecord(logFile, from, tellsOfItsEnd, 'the end of a successor', stepMs);
  return await successor.ended;
}

async function moveBulk(lab: Lab): Promise<BulkResult | undefined> {
  const program = join(import.meta.dirname, '../../../src/lab/bulk.ts');
  const to = [demo.vip4, String(demo.bulkPort), String(bulkBytes)];
  const command = [process.execPath, program, 'send', ...to];
  const { code, stdout } = await lab.inPod(demo.client, command, { timeoutMs: 120_000 });
  return code === 0 ? (JSON.parse(stdout) as BulkResult) : undefined;
}

function isWhole(bulk: BulkResult | undefined): boolean {
  return bulk?.received === bulkBytes && bulk.there && bulk.back;
}

/** Loads of a pod that the kernel captures, and of one that nftables captures. */
async function underBoth(lab: Lab, work: () => Promise<void>): Promise<LoadResult[]> {
  const all: LoadResult[] = [];
  const inner = async (): Promise<void> => {
    all.push(await underLoad(lab, filtered, [demo.vip4, 80], work));
  };
  all.unshift(await underLoad(lab, demo.client, [demo.vip4, 80], inner));
  return all;
}

function sawNothing(t: Test, loads: readonly LoadResult[], what: string): void {
  for (const load of loads) {
    t.equal(load.failed, 0, `${what}: no request fails (${load.reasons.join('; ')})`);
    t.equal(load.opened, 1, `${what}: the connection that stays open is opened once`);
    t.ok(load.fresh > 20 && load.kept > 20, `${what}: there was load`);
  }
}

async function hold(lab: Lab, pod: string): Promise<() => Promise<LogRecord>> {
  const program = join(import.meta.dirname, '../../../src/lab/hold.ts');
  const command = [process.execPath, program, demo.vip4, '80'];
  const { logFile } = await lab.startInPod(pod, 'hold', command);
  const says = (msg: string, from = 0): Promise<LogRecord> =>
    waitForRecord(logFile, from, (record) => record['msg'] === msg, `${pod}: ${msg}`, stepMs);
  const from = endOfLog(logFile);
  await says('held');
  return () => says('ended', from);
}

async function successorsDie(t: Test, lab: Lab): Promise<void> {
  const loads = await underBoth(lab, async () => {
    const bulk = moveBulk(lab);
    for (const msg of milestones) {
      for (const [signal, how] of deaths) {
        t.equal(await endAt(lab, 'node-a', msg, signal), how, `${signal} at "${msg}"`);
        await lab.ready('node-a');
        t.ok(await passes(lab, demo.client), 'the one before goes on');
      }
    }
    await endAt(lab, 'node-b', 'pod added', 'SIGKILL');
    t.ok(isWhole(await bulk), 'a transfer is whole');
  });
  sawNothing(t, loads, 'successors die');
}

/** One that cannot open its ports gives up, and gives back. */
async function successorFails(t: Test, lab: Lab): Promise<void> {
  const name = 'node-a/ztunnel';
  const loads = await underBoth(lab, async () => {
    const from = endOfLog(lab.process(name).logFile);
    const successor = await startUnable(lab, name);
    t.equal(await successor.ended, 'exit code 1');
    await said(lab, name, from, takenBack);
    await lab.ready('node-a');
    t.ok(await passes(lab, demo.client), 'a successor that failed has given the node back');
  });
  sawNothing(t, loads, 'a successor fails');
}

/** Starts a successor that gets no certificates, and waits for them. */
function startWaiting(t: Test, lab: Lab, name: string): Promise<LabProcess> {
  const keys = mkdtempSync('/dev/shm/weft-handover-');
  t.teardown(() => rmSync(keys, { recursive: true }));
  const alone = ['--control', '127.0.0.1:1', '--keys', keys];
  return lab.restart(name, (command) => [...command, ...alone]);
}

/** Restarts the agent; resolves when both proxies have its list. */
async function restartAgent(lab: Lab, agent: string): Promise<void> {
  await lab.kill(agent);
  const { logFile } = lab.process(agent);
  const from = endOfLog(logFile);
  await lab.restart(agent);
  const { proxyPid } = await said(lab, agent, from, 'snapshot acknowledged');
  const isOther = (record: LogRecord): boolean =>
    record['msg'] === 'snapshot acknowledged' && record['proxyPid'] !== proxyPid;
  await waitForRecord(logFile, from, isOther, 'the other proxy', stepMs);
}

/** Pods that come while there are two proxies are carried by whichever is left. */
async function podsCome(t: Test, lab: Lab): Promise<void> {
  const [agent, proxy] = ['node-a/cni', 'node-a/ztunnel'];
  for (const [how, name, last] of [
    ['', late, 41],
    [', and the agent is another', later, 42],
  ] as const) {
    const from = endOfLog(lab.process(proxy).logFile);
    const listed = endOfLog(lab.process(agent).logFile);
    const successor = await startWaiting(t, lab, proxy);
    await said(lab, agent, listed, 'snapshot acknowledged');
    if (name === later) {
      await restartAgent(lab, agent);
    }
    await lab.writeMesh(`${name}.yaml`, podOf(name, last));
    await lab.addNewPods();
    await killProcess(successor);
    await said(lab, proxy, from, 'a successor disconnected');
    t.ok(await passes(lab, name), `a pod is carried when the successor is gone${how}`);
  }
}

async function predecessorDies(t: Test, lab: Lab): Promise<void> {
  const name = 'node-a/ztunnel';
  const loads = await underBoth(lab, async () => {
    const from = endOfLog(lab.process(name).logFile);
    const before = await lab.replace(name);
    await said(lab, name, from, 'handing this node over');
    await killProcess(before);
    const ms = await msUntil(lab, demo.client, true);
    t.ok(ms < 2_000, `a new connection passes after ${Math.ceil(ms)} ms`);
    await said(lab, name, from, 'took over');
    await lab.ready('node-a');
  });
  for (const load of loads) {
    t.equal(load.wrong, 0, 'no answer is wrong');
    t.ok(load.failed <= 2, `only what it carried is reset: ${load.reasons.join('; ')}`);
    t.ok(load.opened <= 2, 'the connection that stays open is opened again at most once');
  }
}

async function replaced(t: Test, lab: Lab): Promise<void> {
  const loads = await underBoth(lab, async () => {
    const bulk = moveBulk(lab);
    const olds = [await replaceProxy(lab, 'node-a'), await replaceProxy(lab, 'node-b')];
    // A third, while the first still carries the bulk.
    olds.push(await replaceProxy(lab, 'node-a'));
    t.ok(isWhole(await bulk), 'a transfer is whole');
    t.equal(olds.length, 3);
  });
  sawNothing(t, loads, 'proxies are replaced');
}

const denied = `apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: refused, namespace: demo}
spec:
  selector: {matchLabels: {app: web}}
  action: DENY
  rules:
    - from: [{source: {principals: [cluster.local/ns/demo/sa/${demo.intruder}]}}]
`;

const lost = `apiVersion: weft.dev/v1alpha1
kind: DenyList
metadata: { name: lost }
spec:
  identities: ["${identityOf(demo.client)}"]
`;

/** What the old proxies carry hears of policy, and of pods that leave. */
async function cutWhileDraining(t: Test, lab: Lab): Promise<void> {
  const refused = await hold(lab, demo.intruder);
  const listed = await hold(lab, demo.client);
  const left = await hold(lab, filtered);
  const ends = [await replaceProxy(lab, 'node-a'), await replaceProxy(lab, 'node-b')];
  await lab.writeMesh('refused.yaml', denied);
  t.ok(await refused(), 'policy turns against one');
  await lab.writeMesh('lost.yaml', lost);
  t.ok(await listed(), 'an identity is on the deny list');
  await unenrolPod(lab.api('node-a'), lab.pod(filtered));
  t.ok(await left(), 'a pod leaves');
  t.same(await Promise.all(ends.map(({ ended }) => ended)), ['exit code 0', 'exit code 0']);
}

t.test('a hand-over outlives the death of either end', { skip: skipLab }, async (t) => {
  const lab = await startLab(t);
  await lab.writeMesh('filtered.yaml', podOf(filtered, 40, 'weft.dev/capture: nft'));
  await lab.addNewPods();
  await successorsDie(t, lab);
  await successorFails(t, lab);
  await podsCome(t, lab);
  await predecessorDies(t, lab);
  await replaced(t, lab);
  await cutWhileDraining(t, lab);
});
